//! Batteries and mains, from `/sys/class/power_supply`.

use super::Trouble;
use super::page::Page;
use super::system::System;

const FOLDER: &str = "sys/class/power_supply";

/// Numbers: node_exporter's name, the kernel's, and how many of the kernel's units are one of
/// node_exporter's.
const NUMBERS: [(&str, &str, f64); 30] = [
    ("capacity", "capacity", 1.0),
    ("capacity_alert_max", "capacity_alert_max", 1.0),
    ("capacity_alert_min", "capacity_alert_min", 1.0),
    ("charge_ampere", "charge_now", 1e6),
    ("charge_control_limit", "charge_control_limit", 1e6),
    ("charge_control_limit_max", "charge_control_limit_max", 1e6),
    ("charge_counter", "charge_counter", 1e6),
    ("charge_empty", "charge_empty", 1e6),
    ("charge_full", "charge_full", 1e6),
    ("charge_full_design", "charge_full_design", 1e6),
    ("constant_charge_current", "constant_charge_current", 1e6),
    ("constant_charge_voltage", "constant_charge_voltage", 1e6),
    ("current_ampere", "current_now", 1e6),
    ("current_max", "current_max", 1e6),
    ("cyclecount", "cycle_count", 1.0),
    ("energy_empty", "energy_empty", 1e6),
    ("energy_full", "energy_full", 1e6),
    ("energy_full_design", "energy_full_design", 1e6),
    ("energy_watthour", "energy_now", 1e6),
    ("input_current_limit", "input_current_limit", 1e6),
    ("online", "online", 1.0),
    ("power_watt", "power_now", 1e6),
    ("present", "present", 1.0),
    ("temp_celsius", "temp", 10.0),
    ("time_to_empty_seconds", "time_to_empty_now", 1.0),
    ("time_to_full_seconds", "time_to_full_now", 1.0),
    ("voltage_max", "voltage_max", 1e6),
    ("voltage_max_design", "voltage_max_design", 1e6),
    ("voltage_min_design", "voltage_min_design", 1e6),
    ("voltage_volt", "voltage_now", 1e6),
];

/// Words, which are labels where the driver knows them.
const WORDS: [&str; 12] = [
    "capacity_level",
    "charge_type",
    "health",
    "manufacturer",
    "model_name",
    "power_supply",
    "scope",
    "serial_number",
    "status",
    "technology",
    "type",
    "usb_type",
];

/// Everything that the drivers know.
pub(super) fn all(system: &System, page: &mut Page) -> Result<(), Trouble> {
    let supplies = system.entries(FOLDER)?;
    for (what, file, unit) in NUMBERS {
        let name = format!("node_power_supply_{what}");
        let help = format!("{what} value of /sys/class/power_supply/<power_supply>.");
        let mut family = page.gauge(&name, &help);
        for supply in &supplies {
            if let Some(number) = system.number(format!("{FOLDER}/{supply}/{file}")) {
                family.sample(&[("power_supply", supply)], number / unit);
            }
        }
    }
    let mut info = page.gauge("node_power_supply_info", "info of /sys/class/power_supply/<power_supply>.");
    for supply in &supplies {
        let word = |word: &'static str| {
            let known = system.line(format!("{FOLDER}/{supply}/{word}"));
            Some((word, if word == "power_supply" { supply.clone() } else { known? }))
        };
        let words: Vec<_> = WORDS.into_iter().filter_map(word).collect();
        let labels: Vec<_> = words.iter().map(|(word, value)| (*word, value.as_str())).collect();
        info.sample(&labels, 1.0);
    }
    Ok(())
}
