//! The inventory that people begin with; what the playbook does is seen on machines, by another suite.

use std::fs;

use super::repository;

pub fn the_example_names_packages_of_this_release() {
    let inventory = fs::read_to_string(repository("deploy/ansible/inventory.example.yml")).unwrap();
    for package in ["onionscrape-agent", "onionscrape-bridge"] {
        let file = format!("target/packages/{package}_{}-1_", env!("CARGO_PKG_VERSION"));
        assert!(inventory.contains(&file), "{file}");
    }
}
