//! How a `ModelRoute` chooses among its targets: strategy, objectives, affinity, breakers, hedging.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;

/// How one of the targets of a tier is chosen.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.balanced) == (self.type == 'Balanced')")
    .message("`Balanced` needs `balanced`, and no other type takes it"))]
pub struct StrategySpec {
    /// `Weighted`: shares by weight. `Cheapest`: the lowest cost of this request. `Fastest`: the
    /// earliest first token. `LeastBusy`: the fewest requests in flight. `Balanced`: cost, speed and
    /// load together. All but `Weighted` decide by what was learned of the targets.
    #[serde(rename = "type", default)]
    pub kind: StrategyType,
    /// How much each part counts in `Balanced`, for callers without a `preference` of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balanced: Option<BalancedSpec>,
    /// By how much two targets may differ and still count as equal; equal ones share the load.
    #[serde(default = "default_tolerance")]
    #[schemars(range(min = 0, max = 100))]
    pub tolerance_percent: i32,
}

impl Default for StrategySpec {
    fn default() -> Self {
        let tolerance_percent = default_tolerance();
        Self { kind: StrategyType::default(), balanced: None, tolerance_percent }
    }
}

const fn default_tolerance() -> i32 {
    10
}

/// What makes one target better than another.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum StrategyType {
    /// Cost, speed and load together.
    Balanced,
    /// The lowest cost of this request.
    Cheapest,
    /// The earliest first token.
    Fastest,
    /// The fewest requests in flight.
    LeastBusy,
    /// Shares by weight.
    #[default]
    Weighted,
}

/// How much each part counts; only their proportions matter.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.cost + self.firstToken + self.perToken + self.load + self.quality > 0")
    .message("at least one part must count"))]
pub struct BalancedSpec {
    /// The cost of the request.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub cost: i32,
    /// The time to the first token.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub first_token: i32,
    /// The time for each token after it.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub per_token: i32,
    /// The requests in flight.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub load: i32,
    /// The answers that are not good, by the `quality` of the targets.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100))]
    pub quality: i32,
}

/// What a target must hold to be chosen while another one does. Where none does, parts are given up
/// in this order: `perOutputToken`, `firstToken`, `successPercent`.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "has(self.firstToken) || has(self.perOutputToken) || has(self.successPercent)")
    .message("at least one objective must stand here"))]
pub struct SloSpec {
    /// Nine first tokens of ten come within this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::duration")]
    pub first_token: Option<String>,
    /// A token after the first takes at most this, on average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::duration")]
    pub per_output_token: Option<String>,
    /// At least this share of the requests of the last 30 s succeeds, as in `"99.5"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::percent")]
    pub success_percent: Option<String>,
}

/// Asks a second target when the first token of a streamed answer is late. The earlier one is sent to the
/// client and the other request is cancelled; both are paid for.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HedgeSpec {
    /// The wait before the second request. When left out it is learned: the time in which 95 of 100
    /// first tokens come, at least 800ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::duration")]
    pub after: Option<String>,
    /// The largest share of the requests that is asked twice, and of their cost.
    #[serde(default = "default_budget_percent")]
    #[schemars(range(min = 1, max = 50))]
    pub budget_percent: i32,
}

/// Sends what belongs together to the same target, key and pod, because providers keep the beginning of
/// a prompt for some minutes and read it again for a tenth of the price. Decides only among targets
/// that may serve and are not much worse than the best; nothing is remembered, so all proxies agree.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.header) || self.by == 'Conversation'")
    .message("`header` names a conversation; `by: Prefix` takes none"))]
pub struct AffinitySpec {
    /// What belongs together. `Conversation`: requests with the same id: in the header `header`, else
    /// in the body as `prompt_cache_key`, `user` or `metadata.user_id`. `Prefix`: requests with the
    /// same tools, system prompt and messages up to the first one of the user.
    #[serde(default)]
    pub by: AffinityBy,
    /// The header with the id of the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bounds::header_name")]
    pub header: Option<String>,
    /// So many bytes count of the tools, of the system prompt and of each message, for `Prefix`.
    #[serde(default = "default_prefix_bytes")]
    #[schemars(range(min = 64, max = 65536))]
    pub prefix_bytes: i32,
    /// How much worse than the best a target may be and still serve what belongs to it: its score
    /// (`Cheapest`, `Balanced`) or its first token (`Fastest`). And, whatever the strategy, how many
    /// more requests than its share it, or a pod, may have in flight.
    #[serde(default = "default_affinity_tolerance")]
    #[schemars(range(min = 0, max = 1000))]
    pub tolerance_percent: i32,
}

/// What belongs together.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum AffinityBy {
    /// Requests with the same id.
    #[default]
    Conversation,
    /// Requests that begin alike.
    Prefix,
}

const fn default_prefix_bytes() -> i32 {
    4096
}

const fn default_affinity_tolerance() -> i32 {
    50
}

/// How requests wait for the first pod of a Service, where no other target can serve.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueSpec {
    /// The most that wait at one proxy; further ones get 429. With 0 nobody waits.
    #[serde(default = "default_max_requests")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_requests: i32,
    /// The longest wait; after it the answer is 503. A request that has waited has so much more time.
    #[serde(default = "default_max_wait")]
    #[schemars(schema_with = "bounds::duration")]
    pub max_wait: String,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self { max_requests: default_max_requests(), max_wait: default_max_wait() }
    }
}

const fn default_max_requests() -> i32 {
    100
}

fn default_max_wait() -> String {
    "1m".to_owned()
}

/// Sends requests to the next tier while a target of a lower one is full. The targets of the last tier
/// are never full. When no other target may serve, a full one does.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpilloverSpec {
    /// So many requests in flight for each pod of its Service fill a target, over all proxies; one with
    /// a `baseURL` counts as one pod.
    #[schemars(range(min = 1, max = 100_000))]
    pub in_flight_per_pod: i32,
    /// Below this share of that it has room again.
    #[serde(default = "default_return_below_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub return_below_percent: i32,
    /// How long it must be below that before it serves again.
    #[serde(default = "default_hold_for")]
    #[schemars(schema_with = "bounds::pause")]
    pub hold_for: String,
}

const fn default_return_below_percent() -> i32 {
    70
}

fn default_hold_for() -> String {
    "30s".to_owned()
}

const fn default_budget_percent() -> i32 {
    5
}

/// When a target that fails is left alone, and how it comes back. When every target is left alone,
/// the one that is tried again the soonest serves.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.cooldown) <= duration(self.maxCooldown)")
    .message("`cooldown` must not be longer than `maxCooldown`"))]
pub struct CircuitBreakerSpec {
    /// So many failures in a row leave it alone.
    #[serde(default = "default_consecutive_failures")]
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive_failures: i32,
    /// A larger share of failures in 30 s leaves it alone.
    #[serde(default = "default_failure_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_percent: i32,
    /// The fewest requests in 30 s that make a share.
    #[serde(default = "default_min_requests")]
    #[schemars(range(min = 1, max = 10000))]
    pub min_requests: i32,
    /// How long it is left alone before one request sees whether it is well; the first sixteen times
    /// in a row, then twice as long each time.
    #[serde(default = "default_cooldown")]
    #[schemars(schema_with = "bounds::duration")]
    pub cooldown: String,
    /// How long it is left alone at most.
    #[serde(default = "default_max_cooldown")]
    #[schemars(schema_with = "bounds::duration")]
    pub max_cooldown: String,
    /// How long it takes to get back its whole share.
    #[serde(default = "default_ramp_up")]
    #[schemars(schema_with = "bounds::pause")]
    pub ramp_up: String,
}

impl Default for CircuitBreakerSpec {
    fn default() -> Self {
        Self {
            consecutive_failures: default_consecutive_failures(),
            failure_percent: default_failure_percent(),
            min_requests: default_min_requests(),
            cooldown: default_cooldown(),
            max_cooldown: default_max_cooldown(),
            ramp_up: default_ramp_up(),
        }
    }
}

const fn default_consecutive_failures() -> i32 {
    5
}

const fn default_failure_percent() -> i32 {
    25
}

const fn default_min_requests() -> i32 {
    10
}

fn default_cooldown() -> String {
    "5s".to_owned()
}

fn default_max_cooldown() -> String {
    "5m".to_owned()
}

fn default_ramp_up() -> String {
    "30s".to_owned()
}
