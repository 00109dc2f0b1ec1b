//! Every request that a codec writes for a fixture, sent to the simulator, which is as strict as the
//! providers are and shares no code with the codecs: a golden file shows what we say, this shows that
//! it would be understood.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use trunkline::{
    dialect::{Api, Dialect, Target},
    provider::models,
    sim::{Config, Provider, Simulator, serve},
};

use super::{fixtures, golden::generations};

/// What the simulator rightly refuses: a fixture, and the words.
const REFUSED: [(&str, &str); 6] = [
    // These signatures were made by nobody.
    ("reasoning_replayed", "signature"),
    ("signatures_of_others", "signature"),
    // Its models write one answer, and it fetches nothing.
    ("several_choices", "Multiple candidates"),
    ("images", "file uri"),
    ("images_and_documents", "file uri"),
    ("document_by_url", "file uri"),
];

fn start(dialect: Dialect) -> SocketAddr {
    let provider = match dialect {
        Dialect::AnthropicMessages => Provider::Anthropic,
        Dialect::Gemini => Provider::Gemini,
        Dialect::OpenAiChat => Provider::OpenAi,
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let simulator = Arc::new(Simulator::new(Config::parse("{}").unwrap(), None));
    thread::spawn(move || serve(listener, provider, simulator));
    address
}

/// The whole answer of the simulator, status line first.
fn send(to: SocketAddr, path: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer k\r\nx-api-key: k\r\nx-goog-api-key: k\r\n\
         anthropic-version: 2023-06-01\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_strict_provider_takes_every_request_that_is_written() {
    let servers = Dialect::ALL.map(|dialect| (dialect, start(dialect)));
    let mut refused = Vec::new();
    let mut taken = 0;
    for api in Api::ALL {
        for (name, body) in fixtures(api.dialect(), "requests") {
            let Ok(request) = api.client().decode_request(body.as_bytes()) else { continue };
            let others = servers.iter().filter(|(dialect, _)| *dialect != api.dialect());
            let each =
                others.flat_map(|(dialect, at)| generations(*dialect).map(|m| (dialect, at, m)));
            for (dialect, at, model) in each {
                let traits = models::traits(*dialect, model);
                let target = Target { model, traits: &traits, fetches_urls: true };
                let upstream = dialect.upstream();
                // No model of OpenAI's: its simulator does not know it.
                if model == "llama-4" {
                    continue;
                }
                let Ok(encoded) = upstream.encode_request(&request, &target) else { continue };
                let base = if *dialect == Dialect::OpenAiChat { "/v1" } else { "" };
                let path = format!("{base}{}", upstream.path(model, request.stream));
                let answer = send(*at, &path, &encoded.body);
                taken += 1;
                let told = answer.split_once("\r\n\r\n").map_or(&*answer, |(_, body)| body);
                let known = |(fixture, words): &(&str, &str)| {
                    *fixture == name && told.to_lowercase().contains(&words.to_lowercase())
                };
                if !answer.starts_with("HTTP/1.1 200") && !REFUSED.iter().any(known) {
                    refused.push(format!("{} {name} for {model}: {told}", api.as_str()));
                }
            }
        }
    }
    assert!(taken > 200, "{taken}");
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
