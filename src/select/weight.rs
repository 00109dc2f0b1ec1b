//! Drawing by weight.

/// Draws one of several by weight. They are walked twice rather than listed: for few it is cheaper.
pub(super) fn by_weight(
    candidates: impl Iterator<Item = (usize, f32)> + Clone,
    random: &mut dyn FnMut() -> f64,
) -> Option<usize> {
    let mut rest = candidates.clone();
    let (first, _) = rest.next()?;
    if rest.next().is_none() {
        return Some(first);
    }
    let total: f64 = candidates.clone().map(|(_, weight)| f64::from(weight)).sum();
    let mut left = random() * total;
    for (at, weight) in candidates {
        let weight = f64::from(weight);
        if left < weight {
            return Some(at);
        }
        left -= weight;
    }
    Some(first)
}
