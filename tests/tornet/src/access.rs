use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use tokio::sync::watch;

/// How a client loses the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its connections are reset, and so is every new one as soon as it is made.
    Reset,
    /// Silence: bytes vanish both ways, and new connections are made but get no
    /// answer. When the client is restored, connections that were cut are reset,
    /// as by a router that forgot them; those made meanwhile begin to work.
    Blackhole,
}

/// Which clients are cut off. One for all fronts.
#[derive(Debug)]
pub(crate) struct Access(watch::Sender<HashMap<IpAddr, Cut>>);

impl Access {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(HashMap::new()))
    }

    pub(crate) fn cut(&self, client: IpAddr, cut: Cut) {
        self.0.send_modify(|cuts| {
            cuts.insert(client, cut);
        });
    }

    pub(crate) fn restore(&self, client: IpAddr) {
        self.0.send_modify(|cuts| {
            cuts.remove(&client);
        });
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }
}

/// A front's view of who is cut off.
#[derive(Clone, Debug)]
pub(crate) struct Watch(watch::Receiver<HashMap<IpAddr, Cut>>);

impl Watch {
    /// What this peer suffers now.
    pub(crate) fn of(&mut self, peer: IpAddr) -> Option<Cut> {
        self.0.borrow_and_update().get(&peer).copied()
    }

    /// Waits until the peer's lot is another than `now`. For ever if the network is gone.
    pub(crate) async fn changed(&mut self, peer: IpAddr, now: Option<Cut>) {
        if self.0.wait_for(|cuts| cuts.get(&peer).copied() != now).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The source address of client `number`, from 1 to 254: 127.0.1.`number`.
pub(crate) fn address(number: usize) -> Option<IpAddr> {
    let last = u8::try_from(number).ok().filter(|last| (1..=254).contains(last))?;
    Some(Ipv4Addr::new(127, 0, 1, last).into())
}
