//! The kernel's word that addresses, routes or links changed (rtnetlink(7)). What changed is not read:
//! it is looked at afterwards, as it is by then.

use std::future::poll_fn;
use std::io;

use futures::FutureExt as _;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, SocketAddr, TokioSocket};

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` and
/// `RTMGRP_IPV6_ROUTE` of `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// Messages that are longer are cut, which is nothing to us.
const MESSAGE: usize = 4096;
/// Most messages that are one change.
const BURST: usize = 1000;

/// A socket that hears of them.
pub(super) struct Netlink(TokioSocket);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, GROUPS))?;
        Ok(Self(socket))
    }

    /// Completes when something changed since the last time.
    pub(super) async fn changed(&mut self) {
        self.message().await;
    }

    /// Passes over what changed until now.
    pub(super) fn skip(&mut self) {
        for _ in 0..BURST {
            if self.message().now_or_never().is_none() {
                return;
            }
        }
    }

    async fn message(&mut self) {
        let mut message = Vec::with_capacity(MESSAGE);
        // Messages that were lost (ENOBUFS) told of a change, too.
        let _ = poll_fn(|cx| self.0.poll_recv(cx, &mut message)).await;
    }
}
