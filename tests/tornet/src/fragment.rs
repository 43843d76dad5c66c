use std::fmt::Write;

use crate::node::Running;

/// What arti needs to use this network, in its own configuration form.
pub(crate) fn text(nodes: &[Running]) -> String {
    let mut text = String::from(
        "# A private Tor network on loopback. Use fresh state and cache directories with it.\n\n\
         [tor_network]\nfallback_caches = [\n",
    );
    for Running { node, .. } in nodes {
        let _ = writeln!(
            text,
            "    {{ rsa_identity = \"{}\", ed_identity = \"{}\", orports = [\"{}\"] }},",
            node.rsa_identity, node.ed_identity, node.or_port
        );
    }
    text.push_str("]\n\n[tor_network.authorities]\nv3idents = [\n");
    for v3 in nodes.iter().filter_map(|node| node.v3.as_ref()) {
        let _ = writeln!(text, "    \"{v3}\",");
    }
    // All relays share one address. Exits are not used.
    text.push_str(
        "]\n\n[path_rules]\nipv4_subnet_family_prefix = 33\nipv6_subnet_family_prefix = 129\n\n\
         [address_filter]\nallow_local_addrs = true\n\n\
         [preemptive_circuits]\ninitial_predicted_ports = []\n",
    );
    text
}
