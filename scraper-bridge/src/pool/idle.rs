//! Connections that nobody uses, and who waits for one.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// Idle connections kept for each exporter: one for each Prometheus of a pair.
const MAX_IDLE: usize = 2;

/// What is given back goes to whoever has waited longest: were it there for whoever comes next, under load some
/// would be served at once and others never.
pub(super) struct Idle<C> {
    /// The last used one last, each with the exporter it leads to.
    connections: Vec<(usize, C)>,
    /// The longest first, each with the exporter that is wanted.
    waiting: VecDeque<(usize, oneshot::Sender<C>)>,
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self { connections: Vec::new(), waiting: VecDeque::new() }
    }
}

impl<C> Idle<C> {
    /// The open connection to this exporter that was used last.
    pub(super) fn take(&mut self, index: usize, is_open: impl Fn(&C) -> bool) -> Option<C> {
        self.connections.retain(|(_, connection)| is_open(connection));
        let last = self.connections.iter().rposition(|(of, _)| *of == index)?;
        Some(self.connections.remove(last).1)
    }

    /// Where a connection to this exporter comes when it is given back and nobody has waited longer.
    pub(super) fn wait(&mut self, index: usize) -> oneshot::Receiver<C> {
        // Who came first mostly gives up first.
        while self.waiting.front().is_some_and(|(_, waiter)| waiter.is_closed()) {
            self.waiting.pop_front();
        }
        let (give, given) = oneshot::channel();
        self.waiting.push_back((index, give));
        given
    }

    /// Gives one back: to whoever has waited longest, as it is or as a place for another, or for later.
    pub(super) fn give_back(&mut self, index: usize, mut connection: C) {
        while let Some((wanted, waiter)) = self.waiting.pop_front() {
            if waiter.is_closed() {
                continue;
            }
            if wanted == index {
                match waiter.send(connection) {
                    Ok(()) => return,
                    Err(back) => connection = back,
                }
            } else if self.connections.is_empty() {
                // Places have a queue in the same order.
                return;
            } else {
                self.evict();
            }
        }
        if self.connections.iter().filter(|(of, _)| *of == index).count() < MAX_IDLE {
            self.connections.push((index, connection));
        }
    }

    /// Closes the one that was not used for longest.
    pub(super) fn evict(&mut self) {
        if !self.connections.is_empty() {
            self.connections.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(idle: &mut Idle<char>, index: usize) -> Option<char> {
        idle.take(index, |_| true)
    }

    #[test]
    fn who_waits_longest_is_next_and_who_comes_then_waits() {
        let mut idle = Idle::default();
        let [mut first, second, mut third] = [0; 3].map(|index| idle.wait(index));
        idle.give_back(0, 'a');
        assert_eq!(take(&mut idle, 0), None);
        assert_eq!(first.try_recv(), Ok('a'));
        drop(second);
        idle.give_back(0, 'b');
        assert_eq!(third.try_recv(), Ok('b'), "one that gave up is passed over");
        idle.give_back(0, 'c');
        assert_eq!((take(&mut idle, 1), take(&mut idle, 0)), (None, Some('c')));
    }

    #[test]
    fn who_wants_another_exporter_has_a_turn() {
        let mut idle = Idle::default();
        let [_other, mut same, mut next] = [1, 0, 0].map(|index| idle.wait(index));
        idle.give_back(0, 'a');
        assert!(same.try_recv().is_err(), "its place goes to whoever has waited longer");
        for (connection, waiter) in [('b', &mut same), ('c', &mut next)] {
            idle.give_back(0, connection);
            assert_eq!(waiter.try_recv(), Ok(connection));
        }
    }

    #[test]
    fn one_that_nobody_wants_makes_room_for_who_wants_another() {
        let mut idle = Idle::default();
        for connection in ['a', 'b', 'c'] {
            idle.give_back(0, connection);
        }
        let waits = idle.wait(1);
        idle.give_back(0, 'd');
        assert_eq!([(); 3].map(|()| take(&mut idle, 0)), [Some('d'), Some('b'), None]);
        drop(waits);
        idle.give_back(0, 'e');
        assert_eq!(idle.take(0, |_| false), None, "it was closed meanwhile");
    }
}
