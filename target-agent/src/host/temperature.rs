//! Temperatures, as thermal zones and hardware monitors have them.

use super::Trouble;
use super::page::Page;
use super::system::System;

const ZONES: &str = "sys/class/thermal";
const MONITORS: &str = "sys/class/hwmon";
/// Both count thousandths of a degree.
const DEGREE: f64 = 1000.0;

/// Every thermal zone that knows its temperature.
pub(super) fn zones(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let mut family = page.gauge("node_thermal_zone_temp", "Zone temperature in Celsius");
    for entry in system.entries(ZONES)? {
        let Some(zone) = entry.strip_prefix("thermal_zone") else { continue };
        let kind = system.line(format!("{ZONES}/{entry}/type"));
        let temperature = system.number(format!("{ZONES}/{entry}/temp"));
        if let (Some(kind), Some(temperature)) = (kind, temperature) {
            family.sample(&[("type", &kind), ("zone", zone)], temperature / DEGREE);
        }
    }
    Ok(())
}

/// One sensor: chip, name, what the driver calls it, and degrees Celsius.
type Sensor = (String, String, Option<String>, f64);

/// Every temperature of every hardware monitor, with what people call them.
pub(super) fn monitors(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let mut chips = Vec::new();
    let mut sensors: Vec<Sensor> = Vec::new();
    for entry in system.entries(MONITORS)? {
        let folder = format!("{MONITORS}/{entry}");
        let chip = chip(system, &folder).unwrap_or(entry);
        for file in system.entries(&folder)? {
            let Some(sensor) = file.strip_suffix("_input").filter(|sensor| is_temperature(sensor)) else {
                continue;
            };
            if let Some(temperature) = system.number(format!("{folder}/{file}")) {
                let label = system.line(format!("{folder}/{sensor}_label"));
                sensors.push((chip.clone(), sensor.to_owned(), label, temperature / DEGREE));
            }
        }
        if let Some(name) = system.line(format!("{folder}/name")) {
            chips.push((chip, name));
        }
    }
    let help = "Annotation metric for human-readable chip names";
    let mut names = page.gauge("node_hwmon_chip_names", help);
    for (chip, name) in &chips {
        names.sample(&[("chip", chip), ("chip_name", &plain(name))], 1.0);
    }
    let mut labels = page.gauge("node_hwmon_sensor_label", "Label for given chip and sensor");
    for (chip, sensor, label, _) in &sensors {
        if let Some(label) = label {
            labels.sample(&[("chip", chip), ("label", label), ("sensor", sensor)], 1.0);
        }
    }
    let mut family = page.gauge("node_hwmon_temp_celsius", "Hardware monitor for temperature (input)");
    for (chip, sensor, _, temperature) in &sensors {
        family.sample(&[("chip", chip), ("sensor", sensor)], *temperature);
    }
    Ok(())
}

fn is_temperature(sensor: &str) -> bool {
    let number = sensor.strip_prefix("temp").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
}

/// A name for a monitor that stays the same when drivers load in another order: where its device
/// is, else what the driver calls it.
fn chip(system: &System, folder: &str) -> Option<String> {
    let device = system.real_path(format!("{folder}/device"));
    let parts =
        device.iter().flat_map(|device| device.iter().rev().take(2).map(|part| part.to_string_lossy()));
    let mut parts: Vec<_> = parts.map(|part| plain(&part)).filter(|part| !part.is_empty()).collect();
    parts.reverse();
    let by_place = Some(parts.join("_"));
    let by_name = || system.line(format!("{folder}/name")).map(|name| plain(&name));
    by_place.filter(|name| !name.is_empty()).or_else(by_name).filter(|name| !name.is_empty())
}

/// Lower case, with `_` for everything that a metric's name cannot have.
fn plain(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || c == ':' { c.to_ascii_lowercase() } else { '_' };
    name.chars().map(letter).collect::<String>().trim_matches('_').to_owned()
}
