//! One target, hop by hop, in a session of its own beside the one that is kept.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::ext::ReasonPhrase;
use hyper::{Request, Response, StatusCode};
use onionscrape::address::OnionAddress;
use onionscrape::doctor::{Finding, Findings, examine_page};
use onionscrape::http::Body;
use onionscrape::lifecycle::Failure;
use tokio::time::{Instant, timeout};

use crate::config::{Reverse, ScrapeLimits, TargetConfig, Transport};
use crate::failure::ScrapeFailure;
use crate::metrics::Stage;
use crate::pool::Pool;
use crate::remedy;
use crate::scrape::Scraper;
use crate::session::{LoginFailure, LoginTimes, Session};
use crate::target::{DialTimes, Dialling, Reach, State, Target, Trouble};

/// The hop at which a target's walk is summed up.
pub(super) const WHOLE: &str = "target";

/// A target to look at.
pub struct Patient {
    /// What the configuration says of it.
    pub config: TargetConfig,
    /// How it is reached, or why it cannot be.
    pub reach: Result<Reach, Failure>,
    /// The target as the running bridge keeps it, if one does.
    pub kept: Option<Arc<Target>>,
}

impl Patient {
    /// True if there is no way between the bridge and the device but through Tor.
    pub(super) fn needs_tor(&self) -> bool {
        match (&self.reach, &self.config.transport) {
            (Ok(Reach::Dialled(dialling)), _) => dialling.dial.stages().contains(&Stage::Bootstrap),
            (Ok(Reach::Reverse(..)), Transport::Reverse(Reverse { entrance, .. })) => {
                self.kept.is_some() && entrance.onion && entrance.listen.is_none()
            }
            _ => false,
        }
    }

    /// Looks at one hop after the other until one does not work, then sums up. Every step is bounded
    /// as it is for the bridge itself.
    pub(super) async fn walk(self, limits: ScrapeLimits, findings: &Findings) {
        let name = self.config.name.as_str();
        let started = Instant::now();
        let mut failed = None;
        match self.session(findings).await {
            Ok((pool, is_own)) => {
                let target = Target::beside(self.config.clone(), pool.clone());
                for index in 0..self.config.exporters.len() {
                    for finding in scraped(&target, &pool, index, limits).await {
                        if finding.is_failed() {
                            failed.get_or_insert_with(|| finding.hop.clone());
                        }
                        findings.tell(finding.of(name)).await;
                    }
                }
                if is_own {
                    pool.session().close().await;
                }
            }
            Err(finding) => {
                failed = Some(finding.hop.clone());
                findings.tell(finding.of(name)).await;
            }
        }
        if let (None, Some(kept)) = (&failed, &self.kept) {
            findings.tell(of_kept(kept).of(name)).await;
        }
        let whole = match failed {
            None => Finding::passed(WHOLE, "all well"),
            Some(hop) => Finding::failed(WHOLE, format!("does not get past: {hop}"), "see that hop"),
        };
        findings.tell(whole.after(started.elapsed()).of(name)).await;
    }

    /// A session, and true if it is one of our own: by the steps that the bridge itself takes, or the one
    /// in which the device came.
    async fn session(&self, findings: &Findings) -> Result<(Arc<Pool>, bool), Finding> {
        let name = self.config.name.as_str();
        let reach = self.reach.as_ref().map_err(|Failure(why)| {
            Finding::failed("keys", why, "mend the file, or the target's key_file and client_auth_file")
        })?;
        let Some(reach) = reach.dialling() else {
            let pool = self.arrived()?;
            findings.tell(Finding::passed(hop(Stage::Arrival), passed(Stage::Arrival)).of(name)).await;
            return Ok((pool, false));
        };
        let mut addresses = reach.host_keys.addresses();
        let mut dialled = dial(reach, addresses.pop()).await;
        while dialled.is_err()
            && let Some(address) = addresses.pop()
        {
            // The likeliest address has the word on what is wrong, as with the bridge itself.
            dialled = dial(reach, Some(address)).await.or(dialled);
        }
        let steps = reach.dial.stages().iter().filter(|stage| **stage != Stage::Bootstrap);
        let (stream, stream_took) = match dialled {
            Ok((stream, took)) => {
                // Nobody says when one of them ended and the next one began, so the last has the time.
                let steps: Vec<_> = steps.collect();
                for (index, stage) in steps.iter().enumerate() {
                    let mut finding = Finding::passed(hop(**stage), passed(**stage));
                    if index + 1 == steps.len() {
                        finding = finding.after(took);
                    }
                    findings.tell(finding.of(name)).await;
                }
                (stream, took)
            }
            Err((trouble, took)) => {
                let steps: Vec<_> = steps.collect();
                let failed = steps.iter().position(|stage| trouble.stage == Some(**stage));
                for stage in &steps[..failed.unwrap_or(0)] {
                    findings.tell(Finding::passed(hop(**stage), passed(**stage)).of(name)).await;
                }
                return Err(of_trouble(&trouble, &self.config).after(took));
            }
        };
        let started = Instant::now();
        let exchanged = match Session::exchange_keys(stream, &reach.host_keys).await {
            Ok(exchanged) => exchanged,
            Err(failure) => {
                if matches!(failure, LoginFailure::HostKey(_)) {
                    findings.tell(Finding::passed(hop(Stage::SshKex), "the host speaks SSH").of(name)).await;
                }
                return Err(of_trouble(&Trouble::of_login(failure).1, &self.config).after(started.elapsed()));
            }
        };
        let key_exchange = started.elapsed();
        for (stage, took) in [(Stage::SshKex, Some(key_exchange)), (Stage::HostKey, None)] {
            let finding = Finding::passed(hop(stage), passed(stage)).of(name);
            findings.tell(took.map_or(finding.clone(), |took| finding.after(took))).await;
        }
        let started = Instant::now();
        let session = exchanged.log_in(&reach.user, &reach.key).await.map_err(|failure| {
            of_trouble(&Trouble::of_login(failure).1, &self.config).after(started.elapsed())
        })?;
        let authentication = started.elapsed();
        let auth = Finding::passed(hop(Stage::Auth), passed(Stage::Auth)).after(authentication);
        findings.tell(auth.of(name)).await;
        let login = LoginTimes { key_exchange, authentication };
        let transport = self.config.transport.label();
        let times = DialTimes { transport, stream: stream_took, login };
        Ok((Arc::new(Pool::new(session, times, reach.tls.clone())), true))
    }

    /// The session in which a device came that comes by itself.
    fn arrived(&self) -> Result<Arc<Pool>, Finding> {
        let state = self.kept.as_ref().map(|kept| kept.state().borrow().clone());
        if let Some(pool) = state.as_ref().and_then(State::pool) {
            return Ok(pool.clone());
        }
        match state {
            Some(State::Waiting(trouble, _)) => Err(of_trouble(&trouble, &self.config)),
            _ => {
                let found = "it comes by itself, and there is no bridge to come to";
                Err(Finding::failed(hop(Stage::Arrival), found, "start the bridge"))
            }
        }
    }
}

type Dialled = Result<(Box<dyn crate::dial::Stream>, Duration), (Trouble, Duration)>;

async fn dial(reach: &Dialling, address: Option<OnionAddress>) -> Dialled {
    let started = Instant::now();
    match reach.dial.dial(address.as_ref()).await {
        Ok(stream) => Ok((stream, started.elapsed())),
        Err(failure) => Err((Trouble::of_dial(failure), started.elapsed())),
    }
}

fn of_trouble(trouble: &Trouble, config: &TargetConfig) -> Finding {
    let hop = trouble.stage.map_or("session", hop);
    Finding::failed(hop, &trouble.what, remedy::of_trouble(trouble, config))
}

/// What people call a step.
fn hop(stage: Stage) -> &'static str {
    match stage {
        Stage::Bootstrap => "tor",
        Stage::Descriptor => "descriptor",
        Stage::Rendezvous => "rendezvous",
        Stage::Stream => "stream",
        Stage::Resolve => "name",
        Stage::Connect => "connection",
        Stage::Proxy => "proxy",
        Stage::Arrival => "arrival",
        Stage::SshKex => "ssh key exchange",
        Stage::HostKey => "host key",
        Stage::Auth => "authorisation",
    }
}

fn passed(stage: Stage) -> &'static str {
    match stage {
        Stage::Bootstrap => "it knows the network",
        Stage::Descriptor => "the device is published, and this bridge may find it",
        Stage::Rendezvous => "the device answers through Tor",
        Stage::Stream => "opened; the time is that of all hops through Tor",
        Stage::Resolve => "the host's name is known",
        Stage::Connect => "the host takes it",
        Stage::Proxy => "it leads to the host",
        Stage::Arrival => "the device has connected",
        Stage::SshKex => "the host speaks SSH",
        Stage::HostKey => "the one that is expected",
        Stage::Auth => "this bridge may log in",
    }
}

/// A channel to an exporter, and a scrape of it.
async fn scraped(target: &Arc<Target>, pool: &Pool, index: usize, limits: ScrapeLimits) -> Vec<Finding> {
    let scraper = Scraper::new(target.clone(), index, limits);
    let exporter = scraper.exporter();
    let (channel, hop) = (format!("channel to {}", exporter.name), format!("exporter {}", exporter.name));
    let of = |hop: &str, failure: ScrapeFailure, started: Instant| {
        let what = failure.answer(exporter.name.as_str()).reason;
        Finding::failed(hop, what, remedy::of_scrape(&failure)).after(started.elapsed())
    };
    let started = Instant::now();
    let opened = match timeout(limits.timeout, pool.take(index, exporter)).await {
        Ok(Ok(taken)) => {
            pool.give_back(index, taken.connection);
            Finding::passed(&channel, "open").after(started.elapsed())
        }
        Ok(Err(failure)) => return vec![of(&channel, ScrapeFailure::of_connection(failure), started)],
        Err(_) => return vec![of(&channel, ScrapeFailure::Unopened, started)],
    };
    let started = Instant::now();
    let answered = scraper.attempt(&Request::new(Empty::<Bytes>::new())).await;
    let finding = match answered {
        Err(failure) => of(&hop, failure, started),
        Ok(response) if response.status() != StatusCode::OK => {
            let found = format!("answers {}", status_line(&response));
            let remedy = "look at the exporter on the device, and at its path in the configuration";
            Finding::failed(&hop, found, remedy).after(started.elapsed())
        }
        Ok(response) => match examine_page(&hop, response.into_body()).await {
            Ok(finding) => finding.after(started.elapsed()),
            Err(error) => match error.downcast::<ScrapeFailure>() {
                Ok(failure) => of(&hop, *failure, started),
                Err(_) => of(&hop, ScrapeFailure::Aborted, started),
            },
        },
    };
    vec![opened, finding]
}

/// The status as Prometheus would show it; the words are the device's, so only printable ones.
fn status_line(response: &Response<Body>) -> String {
    let phrase = response.extensions().get::<ReasonPhrase>();
    let phrase = phrase.map(|phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned());
    let words =
        phrase.or_else(|| response.status().canonical_reason().map(str::to_owned)).unwrap_or_default();
    let words: String = words.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(80).collect();
    format!("{} {words}", response.status().as_u16())
}

/// How the session is that the running bridge keeps, now that all hops to the device were found to work.
fn of_kept(kept: &Target) -> Finding {
    let since = SystemTime::now().duration_since(kept.since()).unwrap_or_default();
    let since = humantime::format_duration(Duration::from_secs(since.as_secs()));
    let state = kept.state().borrow().clone();
    match state {
        State::Up(_) | State::Suspect(_) => Finding::passed("kept session", format!("up for {since}")),
        state => {
            let found = format!("{} for {since}, although the device can be reached", state.label());
            let remedy = format!("wait a minute, or: scraper-bridge redial {}", kept.config.name);
            Finding::warning("kept session", found, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_words_are_printable() {
        let mut response = Response::new(onionscrape::http::full(""));
        *response.status_mut() = StatusCode::NOT_FOUND;
        assert_eq!(status_line(&response), "404 Not Found");
        let phrase = ReasonPhrase::try_from(&b"not\there\xff"[..]).expect("phrase");
        response.extensions_mut().insert(phrase);
        assert_eq!(status_line(&response), "404 nothere");
    }
}
