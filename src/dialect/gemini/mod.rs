//! placeholder
use super::*;
/// placeholder
#[derive(Clone, Copy, Debug)]
pub struct GenerateContent;

impl Upstream for GenerateContent {
    fn path(&self, _: &str, _: bool) -> String {
        todo!()
    }
    fn encode_request(&self, _: &ChatRequest, _: &Target<'_>) -> Result<Encoded, Refusal> {
        todo!()
    }
    fn decode_response(&self, _: &[u8]) -> Result<ChatResponse, StreamError> {
        todo!()
    }
    fn decode_stream(&self) -> Box<dyn Decode> {
        todo!()
    }
    fn watch_stream(&self) -> Box<dyn Watch> {
        todo!()
    }
    fn usage(&self, _: &[u8]) -> Option<Usage> {
        todo!()
    }
    fn decode_error(&self, _: u16, _: &[u8]) -> ProviderError {
        todo!()
    }
}
