//! What arrived, one JSON object a line: so that a test or a person sees what a proxy really sent.
//!
//! Keys are left out, bodies are not: a journal holds prompts, and is written only where its path was
//! given on the command line.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::Path,
    sync::{Mutex, PoisonError},
};

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::Provider;

/// Headers that hold a key.
const SECRET: [&str; 6] =
    ["api-key", "authorization", "cookie", "proxy-authorization", "x-api-key", "x-goog-api-key"];

/// A file that grows by a line a request.
#[derive(Debug)]
pub struct Journal(Mutex<File>);

/// One request and what it was answered with.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub provider: Provider,
    pub method: &'a str,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// None where no answer was given.
    pub status: Option<u16>,
}

impl Journal {
    /// Opens the file to append to it; `-` is the standard output, as for the access log.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            let stdout = io::stdout().as_fd().try_clone_to_owned()?;
            return Ok(Self(Mutex::new(File::from(stdout))));
        }
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self(Mutex::new(file)))
    }

    /// Writes a line, whole: it is there before the answer is.
    pub(super) fn write(&self, entry: &Entry<'_>) -> io::Result<()> {
        let line = format!("{}\n", line(entry));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())
    }
}

fn line(entry: &Entry<'_>) -> Value {
    let open = entry.headers.iter().filter(|(name, _)| !SECRET.contains(&name.as_str()));
    let headers: Map<String, Value> = open
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let body = serde_json::from_slice::<Value>(entry.body)
        .unwrap_or_else(|_invalid| json!(String::from_utf8_lossy(entry.body)));
    let query = entry.query.unwrap_or_default().split('&');
    let query: Vec<&str> =
        query.filter(|pair| !pair.is_empty() && !pair.starts_with("key=")).collect();
    json!({
        "provider": entry.provider.as_str(), "method": entry.method, "path": entry.path,
        "query": query.join("&"), "headers": headers, "body": body, "status": entry.status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_request_and_no_key() {
        let mut headers = HeaderMap::new();
        for name in SECRET {
            headers.insert(name, "canary".parse().unwrap());
        }
        headers.insert("content-type", "application/json".parse().unwrap());
        let entry = Entry {
            provider: Provider::Gemini,
            method: "POST",
            path: "/v1/x",
            query: Some("alt=sse&key=canary"),
            headers: &headers,
            body: br#"{"a":1}"#,
            status: Some(200),
        };
        let expected = json!({
            "provider": "gemini", "method": "POST", "path": "/v1/x", "query": "alt=sse",
            "headers": {"content-type": "application/json"}, "body": {"a": 1}, "status": 200,
        });
        assert_eq!(line(&entry), expected);
        assert_eq!(line(&Entry { body: b"{oops", ..entry })["body"], "{oops");
    }
}
