//! How often an exporter is to be scraped, and how long that may take.

use std::time::Duration;

use crate::config::{Period, Section};

/// What Prometheus is asked for at least and at most: what lies outside helps nobody, and a device must
/// not have itself scraped without end.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// See [`SHORTEST`].
pub const LONGEST: Duration = Duration::from_secs(3600);
/// The longest interval that a device is given. Prometheus looks back 5 min, so of what is scraped more
/// seldom `up` has gaps, and alerts that wait for it never fire; only an operator decides for that.
pub const LONGEST_ASKED: Duration = Duration::from_secs(120);

/// A scrape interval with its timeout, as Prometheus' `scrape_configs` have them. The timeout is never
/// longer than the interval: Prometheus drops a target of which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Between [`SHORTEST`] and [`LONGEST`].
    pub interval: Duration,
    /// Between [`SHORTEST`] and the interval; `None` if nothing was said.
    pub timeout: Option<Duration>,
}

impl Schedule {
    /// Reads `scrape_interval` and `scrape_timeout`.
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let interval = section.spanned::<Period>("scrape_interval");
        let timeout = section.spanned::<Period>("scrape_timeout");
        for (key, period) in [("scrape_interval", &interval), ("scrape_timeout", &timeout)] {
            if let Some(period) = period.as_ref().filter(|period| !is_sane(period.get_ref().0)) {
                section.mistake(period.span(), format!("{key}: must be between 1s and 1h"));
            }
        }
        let Some(interval) = interval else {
            if let Some(timeout) = timeout {
                let message = "scrape_timeout: needs scrape_interval beside it; \
                               Prometheus drops a target whose timeout is longer than its interval";
                section.mistake(timeout.span(), message);
            }
            return None;
        };
        let interval = interval.into_inner().0;
        if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.get_ref().0 > interval) {
            section.mistake(timeout.span(), "scrape_timeout: cannot be longer than scrape_interval");
        }
        Some(Self { interval, timeout: timeout.map(|timeout| timeout.into_inner().0) })
    }

    /// What a peer asks for, brought between [`SHORTEST`] and [`LONGEST_ASKED`]; `None` if it says no
    /// interval.
    ///
    /// # Errors
    /// When what it says is no length of time, or a timeout without an interval.
    pub fn asked(interval: Option<&str>, timeout: Option<&str>) -> Result<Option<Self>, Malformed> {
        let period = |text: &str| match Period::try_from(text.to_owned()) {
            Ok(Period(period)) => Ok(period.clamp(SHORTEST, LONGEST_ASKED)),
            Err(_) => Err(Malformed),
        };
        let (interval, timeout) = (interval.map(period).transpose()?, timeout.map(period).transpose()?);
        match (interval, timeout) {
            (Some(interval), timeout) => {
                Ok(Some(Self { interval, timeout: timeout.map(|timeout| timeout.min(interval)) }))
            }
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Malformed),
        }
    }
}

/// What was asked for is no schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A length of time as Prometheus reads it, in whole seconds or milliseconds.
pub fn prometheus(period: Duration) -> String {
    match period.subsec_millis() {
        0 => format!("{}s", period.as_secs()),
        _ => format!("{}ms", period.as_millis()),
    }
}

fn is_sane(period: Duration) -> bool {
    (SHORTEST..=LONGEST).contains(&period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_asks_for_is_brought_within_bounds() {
        let seconds = |interval, timeout: Option<u64>| {
            let timeout = timeout.map(Duration::from_secs);
            Ok(Some(Schedule { interval: Duration::from_secs(interval), timeout }))
        };
        let asked = |interval, timeout| Schedule::asked(interval, timeout);
        assert_eq!(asked(Some("30s"), None), seconds(30, None));
        assert_eq!(asked(Some("2m"), Some("20s")), seconds(120, Some(20)));
        assert_eq!(asked(Some("1ms"), Some("1ns")), seconds(1, Some(1)));
        assert_eq!(asked(Some("121s"), None), seconds(120, None), "Prometheus would see gaps");
        assert_eq!(asked(Some("1year"), Some("2years")), seconds(120, Some(120)));
        assert_eq!(asked(Some("5s"), Some("10s")), seconds(5, Some(5)), "never longer than the interval");
        assert_eq!(asked(None, None), Ok(None));
        for bad in ["", "-5s", "soon", "99999999999999999999s", "NaN"] {
            assert_eq!(asked(Some(bad), None), Err(Malformed), "{bad:?}");
            assert_eq!(asked(Some("30s"), Some(bad)), Err(Malformed), "{bad:?}");
        }
        assert_eq!(asked(None, Some("10s")), Err(Malformed), "a timeout alone can exceed the interval");
    }

    #[test]
    fn prometheus_can_read_it() {
        assert_eq!(prometheus(Duration::from_secs(90)), "90s");
        assert_eq!(prometheus(Duration::from_millis(1500)), "1500ms");
    }
}
