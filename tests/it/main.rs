//! Both programs against real parts: a private Tor network, node_exporter, Prometheus, OpenSSH.
//!
//! One binary, so that arti is linked once; one network for all tests, started by the first that
//! needs it and gone when the last has ended.
//!
//! - `checkout`, `trials`: the repository and its programs, and how tests are listed, as in the other binaries;
//! - `world`: the network and what stands on it; devices and monitors for a test to use;
//! - `exporters`: exporters that misbehave;
//! - `paired`: a device as a person runs it, to be paired by ticket;
//! - `prometheus`: a real one;
//! - `browser`: a real one;
//! - `http`: scrapes, seen byte by byte;
//! - the others: tests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

#[path = "../checkout.rs"]
mod checkout;
#[macro_use]
#[path = "../trials.rs"]
mod trials;

mod bad_input;
mod bad_requests;
mod browser;
mod censored;
mod chain;
mod commands;
mod compressed;
mod config;
mod doctor;
mod documents;
mod exporter;
mod exporters;
mod healing;
mod host;
mod host_keys;
mod hostile;
mod http;
mod identity;
mod inventory;
mod leaks;
mod load;
mod migrated;
mod monitoring;
mod offered;
mod operated;
mod page;
mod paired;
mod pairing;
mod prometheus;
mod refused;
mod reload;
mod reverse;
mod rotation;
mod sandbox;
mod secure;
mod sharding;
mod stock;
mod surfaces;
mod transports;
mod upgrades;
mod web;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Arguments;
use world::World;

fn main() -> ExitCode {
    if let Some(ended) = leaks::in_a_namespace() {
        return ended;
    }
    let world = Arc::new(World::new());
    let mut trials = trials![
        &world,
        config::every_valid_file_loads,
        config::every_invalid_file_is_explained,
        config::every_example_in_the_documents_is_valid,
        config::what_the_package_has_ready_is_left_to_it,
        config::check_says_so_and_by_its_exit_code,
        config::what_systemd_is_to_hand_over_is_no_mistake,
        documents::completions_and_manual_pages,
        commands::every_documented_command_is_run_or_says_why_not,
        operated::every_alert_has_its_heading,
        bad_input::files_and_folders,
        bad_input::a_targets_own_key,
        bad_input::ports_in_use,
        bad_input::standard_output_that_takes_nothing,
        bad_input::programs_need_nothing_but_libc,
        identity::hostname_is_stable_and_published,
        identity::a_damaged_identity_is_never_replaced,
        identity::many_at_once_make_one_identity,
        identity::an_address_is_taken_over_from_c_tor,
        identity::systemd_hears_each_step,
        chain::the_body_is_a_direct_scrapes,
        chain::a_warm_scrape_reuses_its_channel,
        chain::prometheus_says_up,
        chain::probe_and_metrics,
        chain::resumes_after_the_agent_is_killed,
        chain::tor_down_is_503,
        chain::a_session_that_stands_by,
        compressed::bodies_are_a_direct_scrapes,
        compressed::a_real_exporters,
        compressed::two_bridges_and_many_at_once,
        compressed::a_restart_of_either_side,
        compressed::what_cannot_be_read_is_asked_for_again,
        compressed::a_long_one_that_cannot_be_read_breaks_off,
        compressed::it_can_be_switched_off,
        censored::both_programs_through_obfs4,
        censored::a_captive_portal_is_told_of,
        doctor::the_bridges_stops_where_the_way_does,
        doctor::the_bridges_on_other_ways,
        doctor::the_agents_and_its_status,
        healing::the_monitors_tor_is_started_anew,
        healing::two_monitors_see_an_agent_come_again,
        healing::a_device_that_was_asleep,
        healing::what_arti_learnt_is_damaged,
        monitoring::rules_and_queries_are_sound,
        monitoring::every_series_exists,
        stock::bridge_scrapes_through_sshd,
        stock::ssh_reaches_both_kinds_of_channel,
        stock::agent_forwards_to_sshd,
        pairing::one_copied_line_pairs,
        pairing::a_ticket_works_once_and_until_it_expires,
        pairing::a_pairing_that_broke_off_goes_on,
        pairing::a_stock_tor_client_is_invited_with_c_tors_files,
        rotation::a_new_host_key_and_a_new_address,
        sandbox::nothing_is_missing_in_it,
        sandbox::what_it_denies_is_told,
        operated::from_a_backup_and_to_another_monitor,
        upgrades::state_of_the_first_release_is_taken_over,
        upgrades::newer_and_damaged_state_is_refused_and_left_alone,
        migrated::tor_socat_and_ssh,
        migrated::ssh_in_a_unit,
        migrated::sshified_as_a_proxy,
        migrated::monitoring_proxy,
        migrated::pushprox,
        migrated::wireguard,
        host_keys::known_hosts,
        host_keys::host_and_user_certificates,
        host_keys::trust_on_first_use,
        host_keys::locked_keys_and_ssh_agents,
        hostile::the_stock_client_gets_nothing_else,
        hostile::one_that_keeps_no_rule_gets_nothing_else,
        refused::unlisted_addresses_and_names,
        refused::a_wrong_key,
        refused::a_wrong_host_key,
        refused::other_hosts_names_and_methods,
        web::files_are_judged_as_promtool_does,
        web::only_who_is_asked_for_gets_in,
        web::a_changed_certificate_is_served,
        web::a_protection_is_never_lost,
        exporter::down,
        exporter::hangs_before_the_head,
        exporter::hangs_in_the_body,
        exporter::dies_in_the_body,
        exporter::to_who_speaks_http_1_0,
        exporter::sends_too_much,
        exporter::sends_garbage,
        exporter::closes_without_length,
        exporter::redirects,
        exporter::a_slow_one_delays_no_other,
        host::it_says_what_node_exporter_says,
        host::a_bare_device_is_scraped_and_a_filter_holds,
        inventory::a_device_says_how_often_it_is_scraped,
        inventory::it_is_known_before_the_device_is_up,
        reload::an_exporter_comes_and_goes_on_a_live_agent,
        exporter::its_password_stays_on_the_device,
        monitoring::prometheus_gets_open_metrics_of_both_programs,
        leaks::nothing_is_told_and_nothing_listens,
        surfaces::prometheus_by_every_way_in,
        surfaces::names_that_lead_nowhere,
        surfaces::a_devices_page_can_do_nothing_in_a_browser,
        surfaces::status_says_what_is_wrong_and_what_to_do,
        page::a_browser_shows_the_fleet_and_follows_it,
        page::pictures_are_taken,
        offered::by_a_chosen_port_a_socket_or_neither,
        offered::a_chosen_port_is_kept,
        offered::reloading_over_http,
        bad_requests::on_every_surface,
        secure::exporters_with_tls,
        transports::an_sshd_by_tcp,
        transports::an_sshd_through_proxies,
        reverse::a_stock_ssh_comes_by_itself,
        reverse::a_stock_ssh_gets_nothing_else,
        reverse::a_stock_ssh_comes_through_tor,
        reverse::an_exporter_with_tls,
        sharding::each_target_is_in_one_of_two_shards,
        load::twenty_at_once,
        load::targets_are_never_mixed_up,
        load::a_scraper_that_goes_away_leaves_nothing,
    ];
    let nix = trials![&world, migrated::sshified_on_nixos];
    trials.extend(nix.into_iter().map(|trial| trial.with_ignored_flag(!migrated::has_nix())));
    if leaks::is_in_a_namespace() {
        trials.extend(trials![
            &world,
            healing::a_device_in_another_network,
            healing::a_device_that_cannot_write_its_state
        ]);
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    // Dropped here rather than never: the network's folder and processes go with it.
    drop(world);
    let leaks = leaks::past_tor();
    for leak in &leaks {
        eprintln!("past Tor: {leak}");
    }
    if leaks.is_empty() { conclusion.exit_code() } else { ExitCode::FAILURE }
}
