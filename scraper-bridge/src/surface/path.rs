//! Paths on the admin listener: `/t/TARGET/EXPORTER/metrics`, and `/probe?target=TARGET&module=EXPORTER`
//! as multi-target exporters have it.

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Uri};
use onionscrape::address::Name;
use onionscrape::http::{Answer, Body};

use super::refuse;
use crate::fleet::Fleet;
use crate::metrics::{Metrics, Surface, SurfaceRefusal};
use crate::scrape::Scraper;

/// The path of an exporter.
pub fn of(target: &Name, exporter: &Name) -> String {
    format!("/t/{target}/{exporter}/metrics")
}

/// Which exporter a request names, and the query that goes on to it; `None` if the path is not one
/// of this surface.
fn named(uri: &Uri) -> Option<(String, String, String)> {
    let parts: Vec<&str> = uri.path().split('/').collect();
    let query = uri.query().unwrap_or_default();
    match parts.as_slice() {
        ["", "t", target, exporter, "metrics"] => {
            Some(((*target).to_owned(), (*exporter).to_owned(), query.to_owned()))
        }
        ["", "probe"] => {
            let (mut target, mut module) = (String::new(), String::new());
            let mut rest = form_urlencoded::Serializer::new(String::new());
            for (key, value) in form_urlencoded::parse(query.as_bytes()) {
                match &*key {
                    "target" => target = value.into_owned(),
                    "module" => module = value.into_owned(),
                    _ => {
                        rest.append_pair(&key, &value);
                    }
                }
            }
            Some((target, module, rest.finish()))
        }
        _ => None,
    }
}

/// Scrapes the exporter that the path names; gives the request back if the path is not one of this
/// surface.
pub async fn scrape(
    fleet: &Fleet,
    metrics: &Metrics,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Request<Incoming>> {
    let Some((target, exporter, query)) = named(request.uri()) else { return Err(request) };
    let scraper = match find(fleet, metrics, &target, &exporter) {
        Ok(scraper) => scraper,
        Err(answer) => return Ok(answer.into()),
    };
    let path = if query.is_empty() { "/metrics".to_owned() } else { format!("/metrics?{query}") };
    // It was part of a URI, or was written by the serializer.
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/metrics"));
    Ok(scraper.answer(request).await)
}

fn find(fleet: &Fleet, metrics: &Metrics, target: &str, exporter: &str) -> Result<Scraper, Answer> {
    let unknown = |why, words| refuse(metrics, Surface::Path, why, StatusCode::NOT_FOUND, words);
    let Some(kept) = fleet.target(target) else {
        return Err(unknown(SurfaceRefusal::UnknownTarget, "no target of this name is configured"));
    };
    // Where there is only one there is no question which.
    let exporter = match (exporter, kept.config.exporters.as_slice()) {
        ("", [only]) => only.name.as_str(),
        _ => exporter,
    };
    fleet.scraper(target, exporter).ok_or_else(|| {
        unknown(SurfaceRefusal::UnknownExporter, "no exporter of this name is configured for the target")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_name_an_exporter_and_pass_the_rest_on() {
        let of = |uri: &str| named(&uri.parse().expect("URI")).map(|(a, b, c)| format!("{a} {b} {c}"));
        assert_eq!(of("/t/backpack/node/metrics").as_deref(), Some("backpack node "));
        assert_eq!(
            of("/t/backpack/node/metrics?collect[]=cpu&a=%20b").as_deref(),
            Some("backpack node collect[]=cpu&a=%20b")
        );
        assert_eq!(of("/probe?target=backpack&module=node").as_deref(), Some("backpack node "));
        assert_eq!(
            of("/probe?collect[]=cpu&target=back%70ack&x=1%262").as_deref(),
            Some("backpack  collect%5B%5D=cpu&x=1%262")
        );
        assert_eq!(of("/probe").as_deref(), Some("  "));
        for other in
            ["/", "/metrics", "/t/a/b", "/t/a/b/metrics/", "//t/a/b/metrics", "/t/../a/b/metrics", "/probe/"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
