//! Arti's tasks, which end with its client: some of them hold on to parts of it and to each other for
//! ever, and with them to the state that another client needs.

use futures::future::FutureObj;
use futures::task::{Spawn, SpawnError};
use tokio_util::sync::CancellationToken;
use tor_rtcompat::{Blocking, PreferredRuntime};

/// Starts them, and drops what is left of them when the client is over.
#[derive(Clone, Debug)]
pub struct Tasks {
    runtime: PreferredRuntime,
    over: CancellationToken,
}

impl Tasks {
    pub(super) fn new(runtime: PreferredRuntime, over: CancellationToken) -> Self {
        Self { runtime, over }
    }
}

impl Spawn for Tasks {
    fn spawn_obj(&self, task: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        let over = self.over.clone();
        let bounded = async move {
            over.run_until_cancelled(task).await;
        };
        self.runtime.spawn_obj(FutureObj::new(Box::new(bounded)))
    }
}

impl Blocking for Tasks {
    type ThreadHandle<T: Send + 'static> = <PreferredRuntime as Blocking>::ThreadHandle<T>;

    fn spawn_blocking<F, T>(&self, f: F) -> Self::ThreadHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.runtime.spawn_blocking(f)
    }

    fn reenter_block_on<F>(&self, future: F) -> F::Output
    where
        F: Future,
        F::Output: Send + 'static,
    {
        self.runtime.reenter_block_on(future)
    }
}
