//! Large answers, of which few may be on their way at a time.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Frame, SizeHint};
use onionscrape::http::{Body, BodyError};
use tokio::sync::OwnedSemaphorePermit;

/// How much is handed on at once. The rest waits here, with the place, until there is room for it: what
/// was handed on whole would wait in the connection, and the place would be free too early.
const PART: usize = 64 << 10;

/// The response with its body in parts; the place is free when the last was handed on, or nobody wants
/// it any more.
pub fn place_held(response: Response<Body>, place: OwnedSemaphorePermit) -> Response<Body> {
    response.map(|body| Held { body, rest: Bytes::new(), _place: place }.boxed_unsync())
}

struct Held {
    body: Body,
    rest: Bytes,
    _place: OwnedSemaphorePermit,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.rest.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let part = self.rest.len().min(PART);
        let part = self.rest.split_to(part);
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let more = self.rest.len() as u64;
        let of = self.body.size_hint();
        match of.exact() {
            Some(size) => SizeHint::with_exact(size + more),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::body::Body as _;
    use onionscrape::http::full;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_place_is_taken_until_the_last_part_is_handed_on() {
        let places = Arc::new(Semaphore::new(1));
        let held = || {
            let place = places.clone().try_acquire_owned().expect("free");
            place_held(Response::new(full(vec![b'x'; PART * 2 + 1])), place).into_body()
        };
        let mut body = held();
        assert_eq!(body.size_hint().exact(), Some(PART as u64 * 2 + 1));
        for (size, left) in [(PART, PART as u64 + 1), (PART, 1), (1, 0)] {
            assert_eq!(places.available_permits(), 0);
            let part = body.frame().await.expect("more").expect("whole").into_data().expect("data");
            assert_eq!((part.len(), body.size_hint().exact()), (size, Some(left)));
        }
        assert!(body.is_end_stream() && body.frame().await.is_none());
        drop(body);
        drop(held());
        assert_eq!(places.available_permits(), 1, "nobody wants it any more");
    }
}
