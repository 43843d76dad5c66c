//! How to scrape an exporter by every surface, ready to copy.

use std::net::SocketAddr;

use onionscrape::http::Web;

use crate::overview::{ExporterOverview, TargetOverview};

/// Where the bridge itself is.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The admin listener's host and port, as the browser knows it.
    pub admin: String,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// True if a password is asked for.
    pub password: bool,
    /// The forward proxy, if there is one.
    pub proxy: Option<SocketAddr>,
}

impl Surroundings {
    /// A bridge that is known as `admin`, with listeners as `web` has them.
    pub fn new(admin: String, web: &Web, proxy: Option<SocketAddr>) -> Self {
        Self { admin, scheme: web.scheme(), password: web.asks_for_password(), proxy }
    }
}

/// One way to an exporter.
pub(super) struct Recipe {
    pub(super) way: &'static str,
    pub(super) text: String,
}

/// Every way to an exporter.
pub(super) fn recipes(
    target: &TargetOverview,
    exporter: &ExporterOverview,
    around: &Surroundings,
) -> Vec<Recipe> {
    let Surroundings { admin, scheme, proxy, .. } = around;
    let mut recipes = Vec::new();
    match (&exporter.listen, port(exporter)) {
        (_, Some(port)) => recipes.push(Recipe { way: "Port", text: format!("{scheme}://{port}/metrics") }),
        (Some(socket), None) => {
            let path = in_shell(socket.trim_start_matches("unix:"));
            let text = format!("curl --unix-socket {path} http://localhost/metrics");
            recipes.push(Recipe { way: "Socket", text });
        }
        (None, None) => {}
    }
    recipes.push(Recipe { way: "Path", text: format!("{scheme}://{admin}{}", exporter.path) });
    let query = format!("target={}&module={}", target.name, exporter.name);
    recipes.push(Recipe { way: "Probe", text: format!("{scheme}://{admin}/probe?{query}") });
    if let Some(proxy) = proxy {
        let text = format!("curl --proxy {scheme}://{proxy} http://{}/metrics", exporter.proxy);
        recipes.push(Recipe { way: "Proxy", text });
    }
    recipes
}

/// A job for one exporter, for `prometheus.yml`.
pub(super) fn job(target: &TargetOverview, exporter: &ExporterOverview, around: &Surroundings) -> String {
    let mut job = format!("- job_name: {}-{}\n", target.name, exporter.name);
    job += &scheme_and_access(around, "  ");
    let address = port(exporter).unwrap_or_else(|| {
        job += &format!("  metrics_path: {}\n", exporter.path);
        around.admin.clone()
    });
    job += &format!(
        "  static_configs:\n    - targets: ['{address}']\n      labels:\n        instance: '{}'\n        exporter: '{}'\n",
        target.name, exporter.name
    );
    job
}

/// The address of the exporter's own port, if it has one.
fn port(exporter: &ExporterOverview) -> Option<String> {
    exporter.listen.clone().filter(|place| place.parse::<SocketAddr>().is_ok())
}

/// A job for all exporters of all targets, for `prometheus.yml`.
pub fn fleet_recipe(around: &Surroundings) -> String {
    let Surroundings { admin, scheme, .. } = around;
    let [of_scrapes, of_discovery] = ["  ", "      "].map(|indent| access(around, indent));
    format!(
        "- job_name: onion\n{of_scrapes}  http_sd_configs:\n    - url: {scheme}://{admin}/sd\n{of_discovery}"
    )
}

/// What a job has to say where the bridge's listeners are not plain HTTP for everybody.
pub fn scheme_and_access(around: &Surroundings, indent: &str) -> String {
    let scheme = if around.scheme == "https" { format!("{indent}scheme: https\n") } else { String::new() };
    scheme + &access(around, indent)
}

/// What Prometheus has to be told besides, for a person to fill in: the bridge knows neither of its files.
fn access(around: &Surroundings, indent: &str) -> String {
    let mut hints = String::new();
    if around.scheme == "https" {
        hints += &format!("{indent}# tls_config: {{ca_file: bridge.crt}}\n");
    }
    if around.password {
        hints += &format!("{indent}# basic_auth: {{username: prometheus, password_file: bridge.password}}\n");
    }
    hints
}

/// As one word of a shell.
fn in_shell(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if path.chars().all(is_plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
