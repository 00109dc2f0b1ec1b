//! The bodies of the fuzz targets, run on every fixture and on every fixture cut short: a target that
//! cannot even take what the codecs are made for is found here, without a fuzzer.

use trunkline::dialect::Dialect;

use super::fixtures;

#[path = "../../../fuzz/bodies.rs"]
mod bodies;

const BODIES: [fn(&[u8]); 5] =
    [bodies::answers, bodies::bodies, bodies::events, bodies::requests, bodies::streams];

#[test]
fn every_body_takes_every_fixture_whole_and_cut() {
    for dialect in Dialect::ALL {
        let kinds = ["requests", "responses", "streams", "errors"];
        for (_, fixture) in kinds.iter().flat_map(|kind| fixtures(dialect, kind)) {
            let bytes = fixture.as_bytes();
            let (start, end) = bytes.split_at(bytes.len() / 2);
            for body in BODIES {
                body(bytes);
                body(start);
                body(end);
            }
        }
    }
}
