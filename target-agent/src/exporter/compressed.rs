//! An exporter's answer made small for who takes it, against one that they have.
//!
//! The whole answer is waited for first. It is told by another much better as a whole, its size is known
//! then, and an exporter that breaks off is an error instead of a part.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::SizeHint;
use hyper::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, IF_RANGE, RANGE,
};
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode};
use onionscrape::compression::{
    AVAILABLE_DICTIONARY, Accepted, Coding, Dictionary, MIN_DICTIONARY, Room, SMALL, Shelf, Stored,
    USE_AS_DICTIONARY, encode, use_as,
};
use onionscrape::http::{Body, full};

use super::streamed::StreamedBody;
use crate::metrics::ExporterMetrics;

/// What Prometheus reads, and what else is text.
const TEXTS: [&str; 4] =
    ["text/plain", "application/openmetrics-text", "application/vnd.google.protobuf", "application/json"];

/// What is done with one answer.
pub(super) struct Compression {
    shelf: Arc<Shelf>,
    accepted: Accepted,
    path: String,
}

impl Compression {
    /// What this request allows, if anything.
    pub(super) fn wanted<B>(request: &Request<B>, shelf: &Arc<Shelf>) -> Option<Self> {
        let headers = request.headers();
        let accepted = Accepted::of(headers);
        let is_whole = *request.method() == Method::GET && !headers.contains_key(RANGE);
        let is_known = || accepted.dcz.flatten().is_some_and(|digest| shelf.known(digest).is_some());
        let wanted = is_whole && (accepted.zstd || is_known());
        wanted.then(|| Self { shelf: shelf.clone(), accepted, path: request.uri().path().to_owned() })
    }

    /// Room for the answer while it is waited for.
    pub(super) fn room(&self) -> Room {
        self.shelf.room()
    }

    /// The body as it goes on. Its head says how it is made small, if it is, and whether later ones can be
    /// told by it. The room is held until all of it has gone, or until the work is done that nobody waits
    /// for any more.
    pub(super) async fn apply(
        self,
        headers: &mut HeaderMap,
        (body, room): (Bytes, Room),
        metrics: &ExporterMetrics,
    ) -> Body {
        let Self { shelf, accepted, path } = self;
        let known = accepted.dcz.flatten().and_then(|digest| shelf.known(digest));
        if body.len() < MIN_DICTIONARY || (known.is_none() && !accepted.zstd) {
            return holding(body, room);
        }
        let past = known.as_ref().map(Stored::digest);
        let coding = if known.is_some() { Coding::Dcz } else { Coding::Zstd };
        let is_small = body.len().max(known.as_ref().map_or(0, Stored::length)) <= SMALL;
        let (of, is_offered, keeping) = (body.clone(), accepted.dcz.is_some(), shelf.clone());
        let work = move || {
            let encoded = match &known {
                Some(known) => known.open().and_then(|known| encode(&of, Some(&known))),
                None => encode(&of, None),
            };
            let own = || Dictionary::new(of.clone()).map(|own| keeping.stored(Arc::new(own)));
            let own = if encoded.is_some() && is_offered { own() } else { None };
            (encoded, own, room)
        };
        // The agent has one thread for all that waits.
        let done = if is_small { Ok(work()) } else { tokio::task::spawn_blocking(work).await };
        let (encoded, own, room) = match done {
            Ok((Some(encoded), own, room)) => (encoded, own, room),
            Ok((None, _, room)) => return holding(body, room),
            Err(_) => return full(body),
        };
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        metrics.compressed(coding, body.len(), encoded.len());
        if let Some((own, said)) = own.zip(use_as(&path))
            && shelf.keep(own, past)
        {
            headers.insert(USE_AS_DICTIONARY, said);
        }
        holding(encoded.into(), room)
    }

    /// The same for a body that there is no room to wait for.
    pub(super) fn stream(self, headers: &mut HeaderMap, body: Body, metrics: &ExporterMetrics) -> Body {
        if !self.accepted.zstd {
            return body;
        }
        match StreamedBody::new(body, metrics.clone()) {
            Ok(streamed) => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(Coding::Zstd.name()));
                streamed.boxed_unsync()
            }
            Err(body) => body,
        }
    }
}

/// A body that holds room until it has gone.
fn holding(body: Bytes, room: Room) -> Body {
    full(body)
        .map_frame(move |frame| {
            let _held = &room;
            frame
        })
        .boxed_unsync()
}

/// Changes a request's header fields so that they ask for the whole body as it is.
pub(super) fn ask_for_identity(headers: &mut HeaderMap) {
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.remove(AVAILABLE_DICTIONARY);
    headers.remove(IF_RANGE);
}

/// True if a body of this size is not worth it.
pub(super) fn is_small(size: &SizeHint) -> bool {
    size.upper().is_some_and(|upper| upper < MIN_DICTIONARY as u64)
}

/// True for the head of a whole body of text that is as it is.
pub(super) fn is_text(head: &Parts) -> bool {
    let identity = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    let as_it_is = head.headers.get_all(CONTENT_ENCODING).iter().all(identity);
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_text = TEXTS.iter().any(|text| kind.eq_ignore_ascii_case(text));
    head.status == StatusCode::OK && as_it_is && is_text && !head.headers.contains_key(CONTENT_RANGE)
}
