//! Tests by their names, on a world that they share; a module of binaries of tests that have one.

/// Tests on the world, which runs them; each is named as it stands here.
macro_rules! trials {
    ($world:expr, $($module:ident :: $test:ident),* $(,)?) => {
        vec![$({
            let world = ::std::sync::Arc::clone($world);
            let name = concat!(stringify!($module), "::", stringify!($test));
            ::libtest_mimic::Trial::test(name, move || {
                world.run($module::$test);
                Ok(())
            })
        }),*]
    };
}
