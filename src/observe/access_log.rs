//! One line of JSON a request, written off the request's path.
//!
//! A worker puts a small struct into a bounded queue without a lock; one thread wakes up every
//! `PAUSE`, empties the queue and writes. Nobody is woken by a request, and a disk that hangs costs
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

/// How much text is gathered before it is written: few calls, and memory that does not grow with the
/// load.
const WRITE: usize = 64 << 10;

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
    /// The namespace of the consumer that called; empty for callers without a key.
    #[serde(serialize_with = "text")]
    pub consumer_namespace: Arc<str>,
    /// The consumer that called; empty for callers without a key.
    #[serde(serialize_with = "text")]
    pub consumer: Arc<str>,
    /// The name of the key that it showed: who still uses an old one is seen here.
    #[serde(serialize_with = "text")]
    pub consumer_key: Arc<str>,
    /// The model as the client wrote it, bounded.
    pub model: String,
    /// The target that answered.
    #[serde(serialize_with = "text")]
    pub target: Arc<str>,
    /// The target's provider, as in `spec.provider`.
    pub provider: &'static str,
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
    /// What the provider bills, in billionths of a US dollar, written as dollars; left out where
    /// nobody knows.
    #[serde(
        rename = "cost_usd",
        serialize_with = "dollars",
        skip_serializing_if = "Option::is_none"
    )]
    pub nano_dollars: Option<u64>,
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

/// Dollars as a text: a float would not be exact.
#[expect(clippy::ref_option, reason = "the form that serde calls")]
fn dollars<S: serde::Serializer>(nano: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    let nano = nano.unwrap_or(0);
    to.collect_str(&format_args!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000))
}

/// Where lines are put. Cheap to clone; one a worker.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Boxed, because a queue holds room for all that may wait: 256 KiB rather than 5 MiB.
    queue: Option<Arc<ArrayQueue<Box<Line>>>>,
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
        let queue = Arc::new(ArrayQueue::new(MOST));
        let stop = Arc::new(AtomicBool::new(false));
        let (lines, stopped) = (Arc::clone(&queue), Arc::clone(&stop));
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            loop {
                let last = stopped.load(Ordering::Acquire);
                drain(&lines, &mut out);
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
            && queue.push(Box::new(line)).is_err()
        {
            self.dropped.inc();
        }
    }
}

/// Writes what waits.
///
/// A log that cannot be written must not stop the proxy; its reader will notice.
fn drain(lines: &ArrayQueue<Box<Line>>, out: &mut impl Write) {
    let mut text = Vec::new();
    while let Some(line) = lines.pop() {
        let begin = text.len();
        match serde_json::to_writer(&mut text, &line) {
            Ok(()) => text.push(b'\n'),
            Err(_) => text.truncate(begin),
        }
        if text.len() >= WRITE {
            let _written = out.write_all(&text);
            text.clear();
        }
    }
    let _written = out.write_all(&text).and_then(|()| out.flush());
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
    use std::io::{Read, pipe};

    use super::*;

    /// What stands in a log after `write` has used it, and how many lines it dropped.
    fn logged(write: impl FnOnce(&AccessLog)) -> (String, u64) {
        let (mut reader, out) = pipe().unwrap();
        let read = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        let dropped = dropped();
        let (log, writer) = AccessLog::start(out, dropped.clone()).unwrap();
        write(&log);
        drop(writer);
        (read.join().unwrap(), dropped.get())
    }

    fn line(request_id: usize, model: &str) -> Line {
        Line {
            ts: jiff::Timestamp::UNIX_EPOCH,
            request_id: request_id.to_string(),
            api: "Messages",
            stream: true,
            namespace: "team".into(),
            route: "chat".into(),
            consumer_namespace: "team".into(),
            consumer: "app".into(),
            consumer_key: "k1".into(),
            model: model.to_owned(),
            provider: "OpenAI",
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
            nano_dollars: Some(4_100_000),
        }
    }

    fn dropped() -> IntCounter {
        IntCounter::new("d", "d").unwrap()
    }

    #[test]
    fn what_is_written_before_the_end_is_in_the_log() {
        let (text, dropped) = logged(|log| log.write(line(1, "evil\n\"model")));
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(text.lines().count(), 1, "control characters are escaped");
        assert_eq!((line["status"].as_u64(), line["input_tokens"].as_u64()), (Some(200), Some(3)));
        assert_eq!(line["ts"], "1970-01-01T00:00:00Z");
        assert_eq!(line["cost_usd"], "0.004100000");
        assert!(line.get("output_tokens").is_none() && dropped == 0);
    }

    /// More than one write's worth, from several threads: none lost, none torn, none twice.
    #[test]
    fn every_line_of_a_burst_arrives_whole_and_once() {
        let burst = |log: AccessLog, from: usize| {
            (from..from + 1000).for_each(|at| log.write(line(at, "m")));
        };
        let (text, dropped) = logged(|log| {
            thread::scope(|scope| {
                for worker in 0..4 {
                    let log = log.clone();
                    scope.spawn(move || burst(log, worker * 1000));
                }
            });
        });
        let mut ids: Vec<usize> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["request_id"].as_str().unwrap().parse().unwrap())
            .collect();
        ids.sort_unstable();
        assert!(ids.into_iter().eq(0..4000));
        assert_eq!(dropped, 0);
    }

    /// The disk that hangs is a pipe that nobody reads.
    #[test]
    fn a_log_that_hangs_costs_counted_lines_and_no_time() {
        let dropped = dropped();
        let (reader, out) = pipe().unwrap();
        let (log, writer) = AccessLog::start(out, dropped.clone()).unwrap();
        (0..2 * MOST).for_each(|at| log.write(line(at, "m")));
        // All but the queue, what the pipe took and what was in hand.
        let most = MOST as u64;
        assert!((most - 1000..=most).contains(&dropped.get()), "{}", dropped.get());
        drop(reader);
        drop(writer);
    }

    #[test]
    fn a_log_that_is_off_takes_nothing_and_drops_nothing() {
        let dropped = dropped();
        let log = AccessLog::off(dropped.clone());
        log.write(line(1, "m"));
        assert!(!log.is_on() && dropped.get() == 0);
    }
}
