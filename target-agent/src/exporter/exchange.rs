//! The request on its way to an exporter, and the answer on its way back.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderValue};
use hyper::{Request, Response, Uri, Version};
use onionscrape::compression::MAX_DICTIONARY;
use onionscrape::http::{Body, FAILURE, end_to_end};
use tokio::time::Instant;

use super::body::{PassedBody, Waited};
use super::compressed::{self, Compression};
use super::{Exporter, ExporterFailure, MAX_BODY, filter};

impl Exporter {
    /// The request as the exporter gets it; if its answer will be made small, for the page as it is.
    pub(super) fn onward<B>(
        &self,
        request: Request<B>,
        uri: Uri,
        host: &HeaderValue,
        is_compressed: bool,
    ) -> Result<Request<Empty<Bytes>>, ExporterFailure> {
        let (from, _) = request.into_parts();
        let mut request = Request::new(Empty::new());
        *request.method_mut() = from.method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = from.headers;
        let headers = request.headers_mut();
        end_to_end(headers);
        // No body goes on, so nothing may announce one.
        headers.remove(CONTENT_LENGTH);
        headers.remove(EXPECT);
        headers.insert(HOST, host.clone());
        if is_compressed {
            compressed::ask_for_identity(headers);
        }
        self.put_own_fields(headers)?;
        if self.0.config.filter.is_some() {
            filter::ask_for_text(headers);
        }
        Ok(request)
    }

    /// The answer as it goes on.
    pub(super) async fn back(
        &self,
        response: Response<Incoming>,
        of_head: bool,
        compression: Option<Compression>,
        deadline: Instant,
    ) -> Result<Response<Body>, ExporterFailure> {
        if response.status().is_informational() {
            return Err(ExporterFailure::BadResponse);
        }
        if response.body().size_hint().lower() > MAX_BODY {
            return Err(ExporterFailure::TooLarge);
        }
        let (mut head, body) = response.into_parts();
        end_to_end(&mut head.headers);
        if !of_head {
            // Written anew from what the body really is.
            head.headers.remove(CONTENT_LENGTH);
        }
        head.headers.remove(FAILURE);
        head.version = Version::HTTP_11;
        let filtering = match self.filtering() {
            Some(filtering) if filter::has_metrics(&mut head)? => Some(filtering),
            _ => None,
        };
        let (is_small, is_long) =
            (compressed::is_small(&body.size_hint()), body.size_hint().lower() > MAX_DICTIONARY as u64);
        let body = PassedBody::new(body, filtering, deadline, self.0.metrics.clone());
        let body = match compression.filter(|_| !is_small && compressed::is_text(&head)) {
            None => body.gather().await?,
            Some(compression) if is_long => {
                compression.stream(&mut head.headers, body.boxed_unsync(), &self.0.metrics)
            }
            Some(compression) => match body.whole(compression.room()).await? {
                Waited::Passed(body) => compression.stream(&mut head.headers, body, &self.0.metrics),
                Waited::Whole(text, room) => {
                    compression.apply(&mut head.headers, (text, room), &self.0.metrics).await
                }
            },
        };
        Ok(Response::from_parts(head, body))
    }
}
