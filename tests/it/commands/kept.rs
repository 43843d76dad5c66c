//! What becomes of every command that the documents have.

/// What becomes of a command.
pub enum Kept {
    /// Run by this test: of `it`, if it does not begin with the name of another suite.
    By(&'static str),
    /// Run by `.ci/run`, as it is.
    Ci,
    /// Run by no test, or not as it is, for this reason.
    Not(&'static str),
}
use Kept::{By, Ci, Not};

const OPENWRT: &str = "needs a real router with OpenWrt";
const PART: &str = "a part of `cargo xtask test`, for whoever changes the program";
const HOURS: &str = "measures for hours; whoever changes what is measured runs it";
const GIVEN: &str =
    "builds what is given to people, for long; docs/releasing.md says what of it has been run";
const CRATES: &str =
    "`cargo xtask test` runs it dry and without its build; the rest is for who makes a release";

/// Our own programs': the program, the subcommand and its options, without what they are given.
pub const OURS: &[(&str, Kept)] = &[
    ("target-agent run", By("identity::systemd_hears_each_step")),
    ("target-agent hostname --json", By("identity::hostname_is_stable_and_published")),
    ("target-agent ticket", By("pairing::a_ticket_works_once_and_until_it_expires")),
    ("target-agent ticket --name", By("pairing::one_copied_line_pairs")),
    ("target-agent ticket --exporters", By("pairing::one_copied_line_pairs")),
    ("target-agent ticket --qr", By("pairing::a_ticket_works_once_and_until_it_expires")),
    ("target-agent bridges", By("pairing::one_copied_line_pairs")),
    ("target-agent bridges --json", By("pairing::one_copied_line_pairs")),
    ("target-agent revoke", By("pairing::one_copied_line_pairs")),
    ("target-agent rotate", By("rotation::a_new_host_key_and_a_new_address")),
    ("target-agent rotate --now", By("operated::from_a_backup_and_to_another_monitor")),
    ("target-agent status", By("doctor::the_agents_and_its_status")),
    ("target-agent status --healthy", By("deployed/installed::without_a_package")),
    ("target-agent doctor", By("doctor::the_agents_and_its_status")),
    ("target-agent check", By("config::check_says_so_and_by_its_exit_code")),
    ("target-agent import --from", By("identity::an_address_is_taken_over_from_c_tor")),
    ("target-agent export --to", By("identity::an_address_is_taken_over_from_c_tor")),
    ("scraper-bridge run", By("bad_input::ports_in_use")),
    ("scraper-bridge add --name", By("pairing::one_copied_line_pairs")),
    ("scraper-bridge add --name --with-agent", By("pairing::one_copied_line_pairs")),
    ("scraper-bridge add --name --listen", By("migrated::tor_socat_and_ssh")),
    ("scraper-bridge add --with-agent", By("pairing::one_copied_line_pairs")),
    ("scraper-bridge add --no-listen", By("pairing::a_ticket_works_once_and_until_it_expires")),
    ("scraper-bridge remove", By("pairing::one_copied_line_pairs")),
    ("scraper-bridge status", By("surfaces::status_says_what_is_wrong_and_what_to_do")),
    ("scraper-bridge status --json", By("surfaces::status_says_what_is_wrong_and_what_to_do")),
    ("scraper-bridge status --healthy", By("deployed/installed::without_a_package")),
    ("scraper-bridge doctor", By("doctor::the_bridges_stops_where_the_way_does")),
    ("scraper-bridge probe", By("chain::probe_and_metrics")),
    ("scraper-bridge redial", By("operated::from_a_backup_and_to_another_monitor")),
    ("scraper-bridge check", By("config::check_says_so_and_by_its_exit_code")),
    ("scraper-bridge key", By("bad_input::files_and_folders")),
    ("scraper-bridge host-key", By("reverse::a_stock_ssh_comes_by_itself")),
    ("scraper-bridge targets", By("pairing::one_copied_line_pairs")),
    ("scraper-bridge targets --json", By("pairing::one_copied_line_pairs")),
    ("scraper-bridge completions", By("documents::completions_and_manual_pages")),
    ("scraper-bridge man --dir", By("documents::completions_and_manual_pages")),
];

/// All others, by how they begin.
pub const OTHERS: &[(&str, Kept)] = &[
    ("cargo xtask demo --network public", Not("needs the public Tor network")),
    ("cargo xtask demo", Ci),
    ("cargo xtask test", Ci),
    (
        "cargo xtask package",
        Not("the suite deployed runs it with --profile release; without, it builds for long"),
    ),
    ("cargo xtask bench", Not(HOURS)),
    ("cargo xtask chaos", Not("`cargo xtask test` runs it with --quick; the whole takes hours")),
    ("cargo xtask soak", Not(HOURS)),
    ("cargo xtask deny", Not("needs the list of advisories; `cargo xtask test` looks as far as it has one")),
    ("cargo xtask release", Not(GIVEN)),
    ("cargo xtask reproducible", Not(GIVEN)),
    ("cargo build --release", By("./checkout::program")),
    ("cargo test --release", Not(PART)),
    ("cargo bench -p onionscrape", Not(HOURS)),
    ("cargo run --release -p onionscrape-fuzz", Not(PART)),
    ("cargo run -p tornet", Not("the suites start the same network by its library")),
    ("cargo publish --workspace", Not(CRATES)),
    ("cargo audit bin ", Not("needs the list of advisories, and a tool of others'")),
    ("cargo deny", Not("a tool's name; `cargo xtask deny` runs it")),
    ("cp inventory.example.yml ", Not("makes a file to be filled in by hand")),
    ("ansible-playbook -i inventory.yml ", By("deployed/playbook::a_fleet_by_one_command")),
    ("deploy/container/build ", By("manifests/container::keys_stay_or_it_refuses")),
    ("podman ", Not("needs podman; the test of the image runs it by buildah")),
    ("kubectl ", Not("needs a cluster")),
    ("sudo -u onionscrape-agent ", Not("needs a machine with NixOS")),
    ("ssh -N -o ExitOnForwardFailure=yes -o ServerAliveInterval=15 -R", By("migrated::monitoring_proxy")),
    (
        "ssh -N -o ExitOnForwardFailure=yes -o ServerAliveInterval=15 -i own_key",
        By("migrated::monitoring_proxy"),
    ),
    ("ssh -L ", By("stock::ssh_reaches_both_kinds_of_channel")),
    ("curl localhost:8080/inventory", Not("stock::ssh_reaches_both_kinds_of_channel asks so without curl")),
    ("ssh-keygen -q -t ed25519 -N '' -f own_key", By("migrated::monitoring_proxy")),
    ("ssh-keygen -q -t ed25519 -N '' -f /etc/onionscrape_key", Not(OPENWRT)),
    ("opkg ", Not(OPENWRT)),
    ("apk ", Not(OPENWRT)),
    ("chmod +x /etc/init.d/onionscrape", Not(OPENWRT)),
    ("/etc/init.d/onionscrape ", Not(OPENWRT)),
    ("sudo apt install ", By("deployed/installed::a_server_as_a_device")),
    ("sudo dpkg -i ", By("deployed/installed::a_server_as_a_device")),
    ("sudo adduser ", By("deployed/installed::a_server_as_a_device")),
    ("echo 'ARGS=", By("deployed/installed::a_server_as_a_device")),
    ("sudo systemd-sysusers ", By("deployed/installed::without_a_package")),
    ("sudo systemd-tmpfiles ", By("deployed/installed::without_a_package")),
    ("sudo systemctl enable --now ", By("deployed/installed::without_a_package")),
    ("sudo systemctl restart prometheus-node-exporter", By("deployed/installed::a_server_as_a_device")),
    ("sudo systemctl restart onionscrape-bridge", By("deployed/moved::keys_of_what_was_there_before")),
    ("sudo systemctl stop ", By("deployed/moved::a_device_and_a_monitor_by_their_copies")),
    ("sudo systemctl start ", By("deployed/moved::a_device_and_a_monitor_by_their_copies")),
    ("sudo cp -r ", By("deployed/moved::a_device_and_a_monitor_by_their_copies")),
    ("sudo mv ", By("deployed/moved::a_device_and_a_monitor_by_their_copies")),
    ("sudo chown ", By("deployed/moved::a_device_and_a_monitor_by_their_copies")),
    ("sudo rm ", By("deployed/moved::a_device_and_a_monitor_by_their_copies")),
    ("sudo tar ", By("deployed/moved::a_device_and_a_monitor_by_their_copies")),
    ("sudo install -d -m 700 -o metrics ", By("deployed/installed::a_server_as_a_device")),
    ("sudo install -t /usr/bin ", By("deployed/installed::without_a_package")),
    ("sudo install -D -m 644 -t ", By("deployed/installed::without_a_package")),
    ("sudo install deploy/debian/agent/command ", By("deployed/installed::without_a_package")),
    ("sudo install -d ", By("deployed/moved::a_device_and_a_monitor_by_their_copies")),
    ("sudo install ", By("deployed/moved::keys_of_what_was_there_before")),
    ("systemctl restart onionscrape-agent", By("deployed/scraped::from_one_machine_to_another")),
    ("systemctl edit ", Not("opens an editor; tests write the file that comes of it")),
    ("systemctl status", Not("shows a person what systemd knows of a service")),
    ("promtool check web-config", By("web::files_are_judged_as_promtool_does")),
    ("promtool check rules ", By("monitoring::rules_and_queries_are_sound")),
    ("promtool test rules ", By("monitoring::rules_and_queries_are_sound")),
    ("nix-instantiate --parse", By("manifests/nix::files_parse")),
    ("nix flake lock", Not("needs a network, and a Nix that knows flakes")),
    ("ONIONSCRAPE_NIXPKGS_LIB=", Not("a part of `cargo xtask test`, for who has nixpkgs")),
];
