//! HTTP as both programs speak it: serving, refusing, and passing a message on.

mod answer;
mod ask;
mod forward;
mod host;
mod listener;
mod origin;
mod public;
mod serve;
mod web;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::HeaderName;

pub use answer::{Answer, landing, only_reading, page, text};
pub use ask::ask;
pub use forward::{end_to_end, is_hop_by_hop, is_path, timeout_header};
pub use host::HostNames;
pub use listener::{Listener, MAX_SOCKET_PATH, SocketAccess};
pub use origin::own_pages_only;
pub use public::{OnRefusal, Refusal, serve_proxy, serve_public};
pub use serve::{Ended, HalfClose, serve, serve_connection};
pub use web::Web;

/// A body of any origin. An error in it aborts the connection, so that nobody takes what was sent
/// until then for the whole.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Marks an answer that an agent gives in an exporter's stead; its value is the reason. It goes no
/// further than the bridge.
pub const FAILURE: HeaderName = HeaderName::from_static("x-onionscrape-failure");

/// Largest head of a request or a response, in bytes.
pub const MAX_HEAD: usize = 64 << 10;
/// Most header fields in a head.
pub const MAX_FIELDS: usize = 128;

/// A body that is all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}
