//! The cluster tests: Trunkline on a real control plane, with real kubectl and Helm.
//!
//! One etcd, API server, controller manager and scheduler serve every test of this binary; each
//! test keeps to namespaces of its own. The binary first moves itself into Linux namespaces of its
//! own (`sandbox`): there every port is free, and whatever was started or mounted ends with it,
//! also when a test panics or the binary is killed. That is why it has a `main` of its own and not
//! the usual harness; `cargo test --test cluster NAME` and the other arguments work as always.
//!
//! Nothing here is a stand-in for Kubernetes but the kubelet (`kubelet`), and that one starts the
//! `trunkline` that was built, with the rights of the pod's `ServiceAccount` and no more.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_in_result,
    reason = "helpers of tests"
)]

mod backends;
mod deployment;
mod journey;
mod kubelet;
mod load;
mod measure;
mod operator;
mod plane;
mod resources;
mod sandbox;
mod services;
mod support;
mod tools;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::{Arguments, Trial};
use support::Cluster;

/// What a test is: a name, and what it does with the cluster.
type Test = (&'static str, fn(&Arc<Cluster>));

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let tests: Vec<Test> = [
        &deployment::TESTS[..],
        &resources::TESTS,
        &operator::TESTS,
        &backends::TESTS,
        &journey::tests(),
    ]
    .concat();
    // One after the other: with few cores, tests side by side would measure each other.
    arguments.test_threads.get_or_insert(1);
    if arguments.list {
        let trials = tests.into_iter().map(|(name, _)| Trial::test(name, || Ok(())));
        let measures = measure::MEASURES.into_iter();
        let measures =
            measures.map(|(name, _)| Trial::test(name, || Ok(())).with_ignored_flag(true));
        return libtest_mimic::run(&arguments, trials.chain(measures).collect()).exit_code();
    }
    let Some(tools) = sandbox::inside() else {
        let error = sandbox::enter(&tools::install(), &tools::sdks());
        panic!("the cluster tests need Linux and util-linux's `unshare` in the PATH: {error}");
    };
    sandbox::furnish();
    sandbox::end_on_interrupt();
    let cluster = Arc::new(Cluster::start(&tools));
    // What is measured is only measured when it is asked for.
    let tests = tests.into_iter().map(|test| (test, false));
    let measures = measure::MEASURES.into_iter().map(|test| (test, true));
    let trials = tests.chain(measures).map(|((name, test), ignored)| {
        let cluster = Arc::clone(&cluster);
        let trial = Trial::test(name, move || {
            test(&cluster);
            Ok(())
        });
        trial.with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
