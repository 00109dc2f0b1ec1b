//! placeholder
use super::*;
/// placeholder
#[derive(Clone, Copy, Debug)]
pub struct Messages;

impl Client for Messages {
    fn decode_request(&self, _: &[u8]) -> Result<ChatRequest, RequestError> {
        todo!()
    }
    fn encode_response(&self, _: &ChatResponse, _: &View) -> Vec<u8> {
        todo!()
    }
    fn encode_stream(&self, _: &View) -> Box<dyn Encode> {
        todo!()
    }
    fn encode_error(&self, _: &ApiError, _: &str) -> Vec<u8> {
        todo!()
    }
    fn status(&self, _: ErrorKind) -> u16 {
        todo!()
    }
    fn stream_error(&self, _: &ApiError, _: &str) -> Vec<u8> {
        todo!()
    }
    fn list_models(&self, _: &[Model<'_>]) -> Vec<u8> {
        todo!()
    }
    fn show_model(&self, _: &Model<'_>) -> Vec<u8> {
        todo!()
    }
}

impl Upstream for Messages {
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
