//! Numbers, ids and signatures that look made up and are not: each is a digest of where it stands.
//!
//! So a rehearsal can be repeated, and a signature that comes back is checked by making it again. The
//! seed is no secret: a signature here proves that a client returned what it got, not who it is.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::Provider;

/// A number from 0 to below 1 that depends on nothing but its place.
pub(super) fn dice(place: [u64; 4]) -> f64 {
    let bytes: Vec<u8> = place.iter().flat_map(|number| number.to_be_bytes()).collect();
    // The upper half has as many bits as a float holds exactly.
    let [a, b, c, d, ..] = digest(&[&bytes]);
    f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

/// The part of an id that tells one request from another: the same request has the same.
pub(super) fn id(seed: u64, body: &[u8]) -> String {
    let digest = digest(&[&seed.to_be_bytes(), body]);
    let start = digest.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(start))
}

/// Issues and checks signatures of reasoning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signer(pub u64);

impl Signer {
    pub(super) fn sign(self, provider: Provider, content: &str) -> String {
        let parts = [&self.0.to_be_bytes(), provider.as_str().as_bytes(), content.as_bytes()];
        STANDARD.encode(digest(&parts))
    }

    pub(super) fn signed(self, provider: Provider, content: &str, signature: &str) -> bool {
        self.sign(provider, content) == signature
    }

    /// Reasoning that only we can read: its text and the proof that it is ours.
    pub(super) fn seal(self, provider: Provider, content: &str) -> String {
        STANDARD.encode(format!("{}.{content}", self.sign(provider, content)))
    }

    pub(super) fn sealed(self, provider: Provider, data: &str) -> bool {
        let opened = STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        opened
            .as_deref()
            .and_then(|text| text.split_once('.'))
            .is_some_and(|(signature, content)| self.signed(provider, content, signature))
    }
}

/// A digest of parts that cannot be taken for other parts.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_text_provider_and_seed_only() {
        let signature = Signer(1).sign(Provider::Anthropic, "hm");
        assert!(Signer(1).signed(Provider::Anthropic, "hm", &signature));
        assert!(!Signer(1).signed(Provider::Anthropic, "hm!", &signature));
        assert!(!Signer(1).signed(Provider::Gemini, "hm", &signature));
        assert!(!Signer(2).signed(Provider::Anthropic, "hm", &signature));
    }

    #[test]
    fn sealed_reasoning_cannot_be_made_up() {
        let data = Signer(1).seal(Provider::Anthropic, "hm.");
        assert!(Signer(1).sealed(Provider::Anthropic, &data));
        for forged in
            ["", "x", "aG0u", data.trim_end_matches('=').trim_end_matches(char::is_alphanumeric)]
        {
            assert!(!Signer(1).sealed(Provider::Anthropic, forged), "{forged}");
        }
    }

    #[test]
    fn dice_are_spread_over_their_range() {
        let rolls: Vec<f64> = (0..1000).map(|n| dice([0, 0, 0, n])).collect();
        assert!(rolls.iter().all(|roll| (0.0..1.0).contains(roll)));
        let mean = rolls.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
