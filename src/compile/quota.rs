//! `spec.quota` of a credential to what the table says of it.

use std::num::NonZeroU64;

use super::report::Problem;
use crate::{api::QuotaSpec, table::Quota};

/// Reads a quota, and says what is wrong with it. The bounds are the schema's, asked again for
/// manifests that no API server has seen.
pub(super) fn read(spec: &QuotaSpec, problems: &mut Vec<Problem>) -> Option<Quota> {
    let mut sound = true;
    let mut limit = |name: &str, given: Option<i64>, most: u64| {
        let given = given?;
        let found = u64::try_from(given).ok().filter(|given| *given <= most);
        let found = found.and_then(NonZeroU64::new);
        if found.is_none() {
            let field = format!("spec.quota.{name}");
            problems.push(Problem::invalid(&field, format!("must be from 1 to {most}")));
            sound = false;
        }
        found
    };
    let quota = Quota {
        requests_per_minute: limit("requestsPerMinute", spec.requests_per_minute, 100_000_000),
        tokens_per_minute: limit("tokensPerMinute", spec.tokens_per_minute, 100_000_000_000),
        max_concurrent: limit("maxConcurrent", spec.max_concurrent, 1_000_000),
    };
    sound.then_some(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_nothing_is_an_error_and_no_limit_is_none() {
        let mut problems = Vec::new();
        let sound = QuotaSpec { max_concurrent: Some(3), ..QuotaSpec::default() };
        let quota = Quota { max_concurrent: NonZeroU64::new(3), ..Quota::default() };
        assert_eq!(read(&sound, &mut problems), Some(quota));
        for wrong in [0, -1, i64::MAX] {
            let spec = QuotaSpec { tokens_per_minute: Some(wrong), ..sound };
            assert_eq!(read(&spec, &mut problems), None, "{wrong}");
        }
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["spec.quota.tokensPerMinute"; 3]);
    }
}
