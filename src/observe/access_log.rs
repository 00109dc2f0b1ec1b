//! One line of JSON a request, written off the request's path.
//!
//! A worker puts a small struct into a bounded queue without a lock; one thread wakes up every
//! [`PAUSE`], empties the queue and writes. Nobody is woken by a request, and a disk that hangs costs
//! lines (which are counted), never latency.
//!
//! A line says who answered, how it ended, how long it took and how many tokens it was. It never
//! holds a prompt, an answer or a key: there is no field that could.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_queue::ArrayQueue;
use prometheus::IntCounter;
use serde::Serialize;

/// How long lines may wait.
const PAUSE: Duration = Duration::from_millis(50);

/// How many lines may wait.
const MOST: usize = 16 << 10;

/// One request.
#[derive(Debug, Serialize)]
pub struct Line {
    /// RFC 3339, when the request ended.
    pub ts: jiff::Timestamp,
    /// `x-request-id` of the answer.
    pub request_id: String,
    /// The client API, empty where the path named none.
    pub api: &'static str,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The route's namespace; empty where none was reached.
    #[serde(serialize_with = "text")]
    pub namespace: Arc<str>,
    /// The route; empty where none was reached.
    #[serde(serialize_with = "text")]
    pub route: Arc<str>,
    /// The model as the client wrote it, bounded.
    pub model: String,
    /// The target that answered.
    #[serde(serialize_with = "text")]
    pub target: Arc<str>,
    /// Every attempt in order, each with how it ended.
    pub attempts: String,
    /// The HTTP status; 0 when the client left before there was one.
    pub status: u16,
    /// How it ended.
    pub outcome: &'static str,
    /// Bytes of the request body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Tokens read, where the provider said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens written, where the provider said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Milliseconds from arrival to the end.
    pub duration_ms: f64,
    /// Milliseconds from arrival to the first byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    /// Microseconds of these that the proxy itself added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_us: Option<u64>,
}

fn text<S: serde::Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

/// Where lines are put. Cheap to clone; one a worker.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<Arc<ArrayQueue<Line>>>,
    dropped: IntCounter,
}

/// The writing thread. Dropping it writes what is left.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AccessLog {
    /// A log that nobody reads.
    pub fn off(dropped: IntCounter) -> Self {
        Self { queue: None, dropped }
    }

    /// Starts writing lines to `out`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        mut out: impl Write + Send + 'static,
        dropped: IntCounter,
    ) -> std::io::Result<(Self, Writer)> {
        let queue = Arc::new(ArrayQueue::<Line>::new(MOST));
        let stop = Arc::new(AtomicBool::new(false));
        let (lines, stopped) = (Arc::clone(&queue), Arc::clone(&stop));
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            let mut text = Vec::new();
            loop {
                let last = stopped.load(Ordering::Acquire);
                while let Some(line) = lines.pop() {
                    if serde_json::to_writer(&mut text, &line).is_ok() {
                        text.push(b'\n');
                    }
                }
                // A log that cannot be written must not stop the proxy; its reader will notice.
                let _written = out.write_all(&text).and_then(|()| out.flush());
                text.clear();
                if last {
                    return;
                }
                thread::sleep(PAUSE);
            }
        })?;
        Ok((Self { queue: Some(queue), dropped }, Writer { stop, thread: Some(thread) }))
    }

    /// Whether lines are read at all.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Puts a line into the log, or counts it as dropped.
    pub fn write(&self, line: Line) {
        if let Some(queue) = &self.queue
            && queue.push(line).is_err()
        {
            self.dropped.inc();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_written_before_the_end_is_in_the_log() {
        let out = Shared::default();
        let dropped = IntCounter::new("d", "d").unwrap();
        let (log, writer) = AccessLog::start(out.clone(), dropped.clone()).unwrap();
        log.write(Line {
            ts: jiff::Timestamp::UNIX_EPOCH,
            request_id: "r1".to_owned(),
            api: "Messages",
            stream: true,
            namespace: "team".into(),
            route: "chat".into(),
            model: "evil\n\"model".to_owned(),
            target: "sonnet".into(),
            attempts: "sonnet:ok".to_owned(),
            status: 200,
            outcome: "ok",
            bytes_in: 1,
            bytes_out: 2,
            input_tokens: Some(3),
            output_tokens: None,
            duration_ms: 1.5,
            first_byte_ms: None,
            added_us: Some(40),
        });
        drop(writer);
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.lines().count(), 1, "control characters are escaped");
        assert_eq!((line["status"].as_u64(), line["input_tokens"].as_u64()), (Some(200), Some(3)));
        assert!(line.get("output_tokens").is_none() && dropped.get() == 0);
    }
}
