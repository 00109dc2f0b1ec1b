//! What every subcommand shares with the one who called it: words, a failure, the environment.

/// Why a subcommand could not go on, for people.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

#[expect(clippy::print_stdout, reason = "what a person or script asked for goes to stdout")]
pub(super) fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "a failure to start is told before there is a log")]
pub(super) fn say_error(text: &str) {
    eprintln!("{text}");
}

/// The environment, for keys that name a variable.
#[expect(clippy::disallowed_methods, reason = "app/ is the one reader of the environment")]
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
