//! Style, script and icon of the pages, under paths that change with what they say, so that a browser
//! may keep them for ever.

use std::sync::LazyLock;

use data_encoding::HEXLOWER;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use onionscrape::http::{Body, page};
use sha2::{Digest as _, Sha256};

/// A file that is part of the program.
pub struct Asset {
    path: String,
    content_type: &'static str,
    text: &'static str,
}

/// How the pages look.
pub static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("style.css", "text/css; charset=utf-8", include_str!("../../assets/style.css"))
});
/// What keeps them up to date.
pub static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("page.js", "text/javascript; charset=utf-8", include_str!("../../assets/page.js"))
});
/// What stands for them in a list.
pub static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")));

impl Asset {
    fn new(name: &str, content_type: &'static str, text: &'static str) -> Self {
        let sum = HEXLOWER.encode(&Sha256::digest(text)[..8]);
        Self { path: format!("/assets/{sum}/{name}"), content_type, text }
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// The file at this path, if there is one.
pub fn at(path: &str) -> Option<Response<Body>> {
    let asset: &Asset = [&STYLE, &SCRIPT, &ICON].into_iter().find(|asset| asset.path == path)?;
    let mut response = page(asset.content_type, asset.text);
    let for_ever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(CACHE_CONTROL, for_ever);
    Some(response)
}
