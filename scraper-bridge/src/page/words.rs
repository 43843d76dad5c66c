//! Times and shares as people read them.

use std::time::SystemTime;

/// How long ago a time was, as RFC 3339 has it: one number, one unit.
pub(super) fn ago(time: Option<&str>, now: SystemTime) -> String {
    let Some(time) = time.and_then(|time| humantime::parse_rfc3339(time).ok()) else {
        return "never".to_owned();
    };
    let seconds = now.duration_since(time).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// A length of time, to three digits at most.
pub(super) fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => "–".to_owned(),
        Some(seconds) if seconds < 0.000_95 => "<1 ms".to_owned(),
        Some(seconds) if seconds < 0.9995 => format!("{:.0} ms", seconds * 1000.0),
        Some(seconds) if seconds < 9.995 => format!("{seconds:.2} s"),
        Some(seconds) => format!("{seconds:.0} s"),
    }
}

/// A share of one. What is not all never looks like it.
pub(super) fn share(share: Option<f64>) -> String {
    match share {
        None => "–".to_owned(),
        Some(share) if share >= 1.0 => "100 %".to_owned(),
        Some(share) if share > 0.99 => format!("{:.1} %", (share * 1000.0).floor() / 10.0),
        Some(share) => format!("{:.0} %", (share * 100.0).floor()),
    }
}

/// How many scrapes failed.
pub(super) fn failures(scrapes: u64, failures: u64) -> String {
    match (scrapes, failures) {
        (0, _) => "no scrapes".to_owned(),
        (_, 0) => format!("none of {scrapes} scrapes failed"),
        _ => format!("{failures} of {scrapes} scrapes failed"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_have_one_unit_and_no_false_comfort() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let of = |before: u64| {
            let time = humantime::format_rfc3339_seconds(now - Duration::from_secs(before)).to_string();
            ago(Some(&time), now)
        };
        assert_eq!([of(0), of(59), of(60)], ["0 s ago", "59 s ago", "1 min ago"]);
        assert_eq!([of(3599), of(3600), of(500_000)], ["59 min ago", "1 h ago", "5 d ago"]);
        assert_eq!(ago(None, now), "never");
        assert_eq!(ago(Some("tomorrow"), now), "never");
        let of = |value: f64| seconds(Some(value));
        assert_eq!([of(0.0001), of(0.0423), of(0.9994)], ["<1 ms", "42 ms", "999 ms"]);
        assert_eq!([of(0.9996), of(9.99), of(61.2)], ["1.00 s", "9.99 s", "61 s"]);
        let of = |value: f64| share(Some(value));
        assert_eq!([of(1.0), of(0.99999), of(0.9899), of(0.0)], ["100 %", "99.9 %", "98 %", "0 %"]);
        assert_eq!(failures(3, 0), "none of 3 scrapes failed");
    }
}
