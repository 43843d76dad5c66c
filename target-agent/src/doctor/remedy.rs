//! What a person can do about what keeps bridges from the device: one answer for each, for `status` and
//! `doctor`.

use onionscrape::tor::DialStage;

/// When the agent says that it is in trouble.
pub const OF_TROUBLE: &str = "see target-agent doctor, which says at which hop";
/// When no agent is running.
pub const OF_NO_AGENT: &str =
    "start it: target-agent run, or its systemd unit; what follows is looked at without it";
/// When an agent is running that cannot be asked.
pub const OF_DEAF: &str =
    "run this as the user that the agent runs as; restart the agent if it is of an older release";
/// When the state directory or a key in it cannot be used.
pub const OF_STATE: &str =
    "give the folder to the user that the agent runs as, with mode 0700; restore keys from a backup";
/// When no SSH server answers behind the onion service.
pub const OF_SSH: &str =
    "look at the agent's log; with [ssh] forward, see whether the device's own sshd runs";
/// When somebody else's host key is shown.
pub const OF_HOST_KEY: &str =
    "another device may have this one's onion key: stop it there, or: target-agent rotate onion";

/// When nobody gets through from outside.
pub fn of_unreachable(stage: DialStage) -> &'static str {
    match stage {
        DialStage::Bootstrap => "look at this device's network and clock; Tor must be reachable",
        DialStage::Descriptor => {
            "wait two minutes after a start; if it stays so, look at the clock and at the agent's log"
        }
        DialStage::Rendezvous | DialStage::Stream => {
            "wait a minute; if it stays so, restart the agent, or look at the device's network"
        }
    }
}

/// When an exporter does not answer as it should, by the reason that its metrics have.
pub fn of_exporter(reason: &str) -> &'static str {
    match reason {
        "refused" => "start the exporter, or mend its address in the configuration",
        "timeout" => "see whether the exporter hangs: ask it with curl on the device",
        "bad_response" => {
            "make sure that the address is that of an exporter, and whether it wants tls = true"
        }
        "aborted" => "see in the exporter's own log why it breaks off",
        "too_large" => "have the exporter say less",
        "tls" => "see ca_file, server_name and the exporter's certificate; the agent's log may say more",
        "own_fields" => "mend the file that the agent's log names; target-agent check reads it, too",
        "unfilterable" | "long_line" => {
            "take keep and drop away, or have the exporter speak Prometheus' text format"
        }
        _ => "look at the exporter, and at its path in the configuration",
    }
}
