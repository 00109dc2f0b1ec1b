//! What compile makes of prices, abilities and ways of choosing.

use super::{
    tests::{Objects, chat},
    *,
};

#[test]
fn a_targets_own_price_counts_before_its_credentials_and_that_before_the_catalogues() {
    let mut objects = Objects::default();
    let model = "claude-sonnet-4-5";
    let input = |objects: &mut Objects, listed: &str, own: &str| {
        let credential =
            format!("{{ provider: Anthropic, auth: {{ none: {{}} }}, models: [{listed}] }}");
        objects.credential("anthropic", &credential);
        let target = format!("name: t, credentialRef: {{ name: anthropic }}, model: {model}{own}");
        objects.route("chat", &format!("{{ models: [chat], targets: [{{ {target} }}] }}"));
        let compiled = objects.compile();
        let pricing = compiled.table.routes()[0].targets[0].pricing.clone();
        pricing.map(|pricing| pricing.standard.base.input.to_string())
    };
    let listed = format!("{{ name: {model}, pricing: {{ input: '2.50', output: '9' }} }}");
    let own = ", pricing: { input: '0.5', output: '1' }";
    assert_eq!(input(&mut objects, "", "").as_deref(), Some("3"));
    assert_eq!(input(&mut objects, &listed, "").as_deref(), Some("2.5"));
    assert_eq!(input(&mut objects, &listed, own).as_deref(), Some("0.5"));
}

#[test]
fn a_target_that_cannot_do_what_its_route_requires_is_taken_out_and_named() {
    let mut objects = Objects::default();
    let credential = |listed: &str| {
        format!("{{ provider: OpenAI, auth: {{ none: {{}} }}, models: [{listed}] }}")
    };
    objects.credential("openai", &credential(""));
    let target = |name: &str, model: &str| {
        format!("{{ name: {name}, credentialRef: {{ name: openai }}, model: {model} }}")
    };
    // Of the last one nobody knows anything, so it is taken as able.
    let targets = [target("deaf", "gpt-5"), target("old", "gpt-4"), target("own", "my-model")];
    objects.route(
        "chat",
        &format!(
            "{{ models: [chat], targets: [{}], requirements: {{ capabilities: [Tools, Vision], \
             minContextTokens: 10000 }} }}",
            targets.join(", ")
        ),
    );
    let compiled = objects.compile();
    let names = |compiled: &Compiled| {
        let targets = compiled.table.routes()[0].targets.iter();
        targets.map(|target| target.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&compiled), ["deaf", "own"]);
    let report = compiled.reports.iter().find(|report| report.kind == "ModelRoute").unwrap();
    let told: Vec<_> = report.conditions().into_iter().filter(|told| !told.status).collect();
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].kind.as_str(), told[0].reason.as_str()), ("TargetsCapable", "Incapable"));
    assert_eq!((told[1].kind.as_str(), told[1].reason.as_str()), ("Priced", "PriceUnknown"));
    assert!(told[1].message.starts_with("target `own`: "), "{}", told[1].message);
    assert!(told[0].message.contains("`old`: model `gpt-4` has no Vision"), "{}", told[0].message);
    objects.credential(
        "openai",
        &credential("{ name: my-model, capabilities: [Tools], contextTokens: 4096 }, { name: gpt-4, capabilities: [Tools, Vision] }"),
    );
    // The account's word counts before the catalogue's, whose context of gpt-4 is too short.
    assert_eq!(names(&objects.compile()), ["deaf"]);
}

#[test]
fn the_price_of_a_model_that_nobody_knows_is_unknown_which_is_told_and_no_problem() {
    let mut objects = chat();
    let priced = |compiled: &Compiled| {
        let report = compiled.reports.iter().find(|it| it.kind == "ModelRoute").unwrap();
        let told = report.conditions().into_iter().find(|it| it.kind == ConditionType::Priced);
        (told.unwrap().status, report.ready.unwrap().reason, render::exit_code(&compiled.reports))
    };
    let compiled = objects.compile();
    assert_eq!(compiled.table.routes()[0].targets[0].pricing, None);
    assert_eq!(priced(&compiled), (false, Reason::Ready, 0));
    let text = render::text(&compiled.reports);
    assert!(text.contains("  Priced=False (PriceUnknown)  target `"), "{text}");
    let target = "name: t, credentialRef: { name: anthropic }, model: m, pricing: { input: '1', output: '2' }";
    objects.route("chat", &format!("{{ models: [chat], targets: [{{ {target} }}] }}"));
    assert_eq!(priced(&objects.compile()), (true, Reason::Ready, 0));
}

#[test]
fn a_route_chooses_as_it_says_and_by_weight_when_it_says_nothing() {
    use crate::table::{Choosing, Hedge, Strategy};
    let mut objects = chat();
    assert_eq!(
        objects.compile().table.routes()[0].choosing,
        Choosing { tolerance_percent: 10, ..Choosing::default() }
    );
    let target = "targets: [{ name: t, credentialRef: { name: anthropic }, model: m }]";
    let choosing = "strategy: { type: Cheapest }, slo: { firstToken: 1500ms, successPercent: '99.5' }, hedge: {}";
    objects.route("chat", &format!("{{ models: [chat], {choosing}, {target} }}"));
    let compiled = objects.compile();
    let found = &compiled.table.routes()[0].choosing;
    assert_eq!(found.strategy, Strategy::Cheapest);
    assert_eq!(found.slo.first_token, Some(std::time::Duration::from_millis(1500)));
    assert_eq!(found.slo.success_per_10k, Some(9950));
    assert_eq!(found.hedge, Some(Hedge { after: None, budget_percent: 5 }));
}
