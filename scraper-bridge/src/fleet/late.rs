//! Ports that another program had when the bridge started.

use onionscrape::address::Name;

use super::{Fleet, Kept};
use crate::offer::Listening;

impl Fleet {
    /// Listens at those that can be had by now.
    pub async fn take_up_late_ports(&self) {
        if self.late().is_empty() {
            return;
        }
        let _settled = self.settled().await;
        for (name, index, place) in self.late() {
            // What is in the way was said at the start.
            let Ok(Some(listener)) = place.bind(self.around.sockets).await else { continue };
            let mut targets = self.locked();
            if let Some(kept) = targets.iter_mut().find(|kept| kept.target.config.name == name) {
                kept.late.retain(|(late, _)| *late != index);
                kept.serve(index, place, listener, &self.around);
            }
        }
    }

    fn late(&self) -> Vec<(Name, usize, Listening)> {
        let targets = self.locked();
        let of = |kept: &Kept| {
            let name = kept.target.config.name.clone();
            kept.late
                .iter()
                .map(move |(index, place)| (name.clone(), *index, place.clone()))
                .collect::<Vec<_>>()
        };
        targets.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::bridge::Bridge;
    use crate::config::BridgeConfig;

    fn target(name: &str, listen: SocketAddr) -> String {
        format!(
            "[[target]]\nname = \"{name}\"\naddress = \"ssh://metrics@127.0.0.1:1\"\n\
             host_key = \"SHA256:uNiVztksCsDhcc0u9e8BrfJXVREF2P2hkKKrbSQGHqs\"\n[[target.exporter]]\n\
             name = \"node\"\nlisten = \"{listen}\"\naddress = \"127.0.0.1:9100\"\n"
        )
    }

    #[tokio::test]
    async fn nobody_waits_for_a_port_and_it_is_had_when_it_is_free() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("bridge.toml");
        let [taken, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("bound"));
        let [late, free] = [&taken, &other].map(|listener| listener.local_addr().expect("address"));
        drop(other);
        let text = format!(
            "state_dir = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n{}",
            folder.path().join("bridge"),
            target("a", late)
        );
        std::fs::write(&file, &text).expect("written");
        let config = BridgeConfig::read(Some(&file), None).expect("right");
        let bridge = Bridge::start(config, CancellationToken::new()).await.expect("started without the port");
        let listening =
            || bridge.fleet().offered().iter().map(|one| one.listening.clone()).collect::<Vec<_>>();
        assert_eq!(listening(), [[Listening::Nowhere]], "nobody is led to the other program");
        assert!(bridge.fleet().scraper("a", "node").is_some(), "by its path");

        // Meanwhile others come and go.
        std::fs::write(&file, text + &target("b", free)).expect("written");
        bridge.reloader().reload().await.expect("taken up");
        assert_eq!(listening(), [[Listening::Nowhere], [Listening::Port(free)]]);

        drop(taken);
        let had = async {
            while listening() != [[Listening::Port(late)], [Listening::Port(free)]] {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), had).await.expect("in time");
        std::net::TcpStream::connect(late).expect("served");
    }
}
