//! One circuit after the other, of which some may fail.

use crate::Failure;

/// Measures on so many circuits; returns what failed on the way. One that fails costs itself alone, as long as most of
/// them are there.
///
/// # Errors
/// When half of them failed, and when all of it is to stop.
pub fn most(
    count: usize,
    mut measure: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<Vec<String>, Failure> {
    let mut failures = Vec::new();
    for number in 0..count {
        if let Err(failure) = measure(number) {
            super::go_on()?;
            failures.push(format!("circuit {} of {count}: {failure}", number + 1));
            if failures.len() * 2 >= count {
                return Err(failures.join("; ").into());
            }
        }
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circuit_that_fails_costs_itself_alone_and_half_of_them_all() {
        let of = |count, bad: &[usize]| {
            let mut good = 0;
            let failures = most(count, |number| {
                if bad.contains(&number) {
                    return Err("no rendezvous".into());
                }
                good += 1;
                Ok(())
            });
            (good, failures.map_err(|error| error.to_string()))
        };
        let noted =
            vec!["circuit 1 of 10: no rendezvous".to_owned(), "circuit 10 of 10: no rendezvous".to_owned()];
        assert_eq!(of(10, &[0, 9]), (8, Ok(noted)));
        assert_eq!(of(3, &[]), (3, Ok(Vec::new())));
        let both = "circuit 1 of 3: no rendezvous; circuit 2 of 3: no rendezvous".to_owned();
        assert_eq!(of(3, &[0, 1]), (0, Err(both)), "nobody waits for the third");
        assert!(of(1, &[0]).1.is_err());
    }
}
