//! The kinds of queries of the mix, and how one of each is made from values that the server returned.

use super::criterion::{Condition, Criterion, Test};
use super::draws::{self, own};
use super::query::{Query, Shape};
use super::world::{Drawn, World};
use crate::drive::Dice;
use pharos::fhir::definitions::ParamType::{self, Composite, Date, Quantity, Reference, String as Text, Token};
use std::rc::Rc;

/// One kind of query.
pub struct Kind {
    pub name: &'static str,
    /// Whether it may be slower than twenty times the median kind: what it asks for, no index can narrow, or a floor of its own
    /// holds for it.
    pub is_excepted: bool,
    make: fn(&World, &mut Dice) -> Option<Query>,
}

/// So many tries for each query wanted; few types have some of the parameters.
const TRIES: usize = 60;

impl Kind {
    /// So many different queries of this kind, or as many as there are.
    pub fn queries(&self, world: &World, dice: &mut Dice, wanted: usize) -> Vec<Query> {
        let (mut queries, mut paths) = (Vec::new(), std::collections::HashSet::new());
        for _ in 0..wanted * TRIES {
            if let Some(query) = (self.make)(world, dice)
                && paths.insert(query.path())
            {
                queries.push(query);
                if queries.len() == wanted {
                    break;
                }
            }
        }
        queries
    }
}

const fn kind(name: &'static str, make: fn(&World, &mut Dice) -> Option<Query>) -> Kind {
    Kind { name, is_excepted: false, make }
}

const fn excepted(name: &'static str, make: fn(&World, &mut Dice) -> Option<Query>) -> Kind {
    Kind { name, is_excepted: true, make }
}

/// All of them.
pub const KINDS: &[Kind] = &[
    kind("all of a type", |w, d| Some(Query::of(&d.pick(&w.types)?.name, Vec::new()))),
    kind("a later page", |w, d| {
        Some(Query { depth: 1 + d.below(9), ..Query::of(&d.pick(&w.types)?.name, Vec::new()) })
    }),
    kind("_id", |w, d| {
        let drawn = w.draw(d, |one| one.code == "_id")?;
        single(&drawn, draws::id(&drawn)?)
    }),
    kind("_lastUpdated ge", |w, d| {
        let drawn = w.draw(d, |one| one.code == "_lastUpdated")?;
        single(&drawn, draws::moment(&drawn, "ge")?)
    }),
    kind("string", |w, d| one(w, d, Text, draws::start)),
    kind("string :exact", |w, d| one(w, d, Text, draws::exact)),
    excepted("string :contains", |w, d| one(w, d, Text, draws::part)),
    kind("date eq", |w, d| date(w, d, "eq")),
    excepted("date ne", |w, d| date(w, d, "ne")),
    kind("date gt", |w, d| date(w, d, "gt")),
    kind("date lt", |w, d| date(w, d, "lt")),
    kind("date ge", |w, d| date(w, d, "ge")),
    kind("date le", |w, d| date(w, d, "le")),
    kind("date sa", |w, d| date(w, d, "sa")),
    kind("date eb", |w, d| date(w, d, "eb")),
    kind("date ap", |w, d| date(w, d, "ap")),
    kind("date range", date_range),
    kind("token code", |w, d| one(w, d, Token, draws::code)),
    kind("token system|code", |w, d| one(w, d, Token, draws::coded)),
    kind("token system|", |w, d| one(w, d, Token, draws::system)),
    kind("token OR list", any_of),
    excepted("token :not", |w, d| one(w, d, Token, draws::not_code)),
    excepted(":missing=true", |w, d| missing(w, d, true)),
    excepted(":missing=false", |w, d| missing(w, d, false)),
    kind("quantity eq", |w, d| amount(w, d, "", false)),
    kind("quantity eq unit", |w, d| amount(w, d, "", true)),
    excepted("quantity ne unit", |w, d| amount(w, d, "ne", true)),
    kind("quantity gt unit", |w, d| amount(w, d, "gt", true)),
    kind("quantity lt unit", |w, d| amount(w, d, "lt", true)),
    kind("quantity ge unit", |w, d| amount(w, d, "ge", true)),
    kind("quantity le unit", |w, d| amount(w, d, "le", true)),
    kind("quantity sa unit", |w, d| amount(w, d, "sa", true)),
    kind("quantity eb unit", |w, d| amount(w, d, "eb", true)),
    kind("quantity ap unit", |w, d| amount(w, d, "ap", true)),
    kind("quantity gt", |w, d| amount(w, d, "gt", false)),
    kind("composite", |w, d| composite(w, d, "")),
    kind("composite gt", |w, d| composite(w, d, "gt")),
    kind("reference", |w, d| one(w, d, Reference, draws::address)),
    kind("by patient", |w, d| patient_and(w, d, &[])),
    kind("patient and code", |w, d| patient_and(w, d, &[Token])),
    kind("patient, code, date", |w, d| patient_and(w, d, &[Token, Date])),
    kind("token and date", token_and_date),
    kind("chain, string", |w, d| chain(w, d, Text, 1)),
    kind("chain, token", |w, d| chain(w, d, Token, 1)),
    kind("chain, date", |w, d| chain(w, d, Date, 1)),
    kind("chain, two steps", |w, d| chain(w, d, Token, 2)),
    kind("_has, token", |w, d| has(w, d, Token)),
    kind("_has, date", |w, d| has(w, d, Date)),
    kind("_has, quantity", |w, d| has(w, d, Quantity)),
    kind("_include", include),
    kind("_revinclude of one", |w, d| revinclude(w, d, true)),
    kind("_revinclude", |w, d| revinclude(w, d, false)),
    kind("_sort date", |w, d| sorted(w, d, Date, false)),
    kind("_sort -date", |w, d| sorted(w, d, Date, true)),
    kind("_sort string", |w, d| sorted(w, d, Text, false)),
    kind("_sort -token", |w, d| sorted(w, d, Token, true)),
    kind("_sort by two", sorted_by_two),
    kind("token, _sort -date", |w, d| newest_first(w, d, |d| one(w, d, Token, draws::code))),
    kind("date ge, _sort -date", |w, d| newest_first(w, d, |d| date(w, d, "ge"))),
    kind("patient, _sort -date", |w, d| newest_first(w, d, |d| patient_and(w, d, &[]))),
    kind("_total=accurate, token", |w, d| Some(Query { shape: Shape::Total, ..one(w, d, Token, draws::code)? })),
    kind("_total=accurate, date", |w, d| Some(Query { shape: Shape::Total, ..date(w, d, "ge")? })),
    kind("_summary=count, token", |w, d| Some(Query { shape: Shape::Count, ..one(w, d, Token, draws::code)? })),
    kind("_summary=count, date", |w, d| Some(Query { shape: Shape::Count, ..date(w, d, "ge")? })),
    excepted("Patient/$everything", everything),
];

type Draw = fn(&Drawn<'_>, &mut Dice) -> Option<Test>;

/// A query with one criterion, of the type that a value was drawn from.
fn single(drawn: &Drawn<'_>, test: Test) -> Option<Query> {
    known(drawn, vec![own(drawn, test)])
}

/// A query that the resource meets from which its values come.
fn known(drawn: &Drawn<'_>, conditions: Vec<Condition>) -> Option<Query> {
    let is_met = conditions.iter().all(|one| one.holds_in(&drawn.sample.resource) == Some(true));
    let (name, id) = drawn.sample.address.split_once('/')?;
    Some(Query { known: is_met.then(|| id.to_owned()), ..Query::of(name, conditions) })
}

/// A value of a parameter of this type, those of all types aside.
fn drawn<'w>(world: &'w World, dice: &mut Dice, param_type: ParamType) -> Option<Drawn<'w>> {
    world.draw(dice, |one| one.param_type == param_type && !one.code.starts_with('_'))
}

/// A query by a parameter of this type.
fn one(world: &World, dice: &mut Dice, param_type: ParamType, test: Draw) -> Option<Query> {
    let drawn = drawn(world, dice, param_type)?;
    single(&drawn, test(&drawn, dice)?)
}

fn date(world: &World, dice: &mut Dice, prefix: &'static str) -> Option<Query> {
    let drawn = drawn(world, dice, Date)?;
    single(&drawn, draws::date(&drawn, dice, prefix)?)
}

fn amount(world: &World, dice: &mut Dice, prefix: &'static str, has_unit: bool) -> Option<Query> {
    let drawn = drawn(world, dice, Quantity)?;
    single(&drawn, draws::amount(&drawn, prefix, has_unit)?)
}

fn composite(world: &World, dice: &mut Dice, prefix: &'static str) -> Option<Query> {
    let is_ordered = |param_type| matches!(param_type, Date | Quantity);
    let drawn = world.draw(dice, |one| {
        let last = one.components.last().map(|last| last.param_type);
        one.param_type == Composite && (prefix.is_empty() || last.is_some_and(is_ordered))
    })?;
    single(&drawn, draws::composite(&drawn, dice, prefix)?)
}

fn date_range(world: &World, dice: &mut Dice) -> Option<Query> {
    let first = date(world, dice, "ge")?;
    let kept = world.kept(&first.target)?;
    let Some(Condition::Own(Criterion { parameter, test: Test::Date(_, from) })) = first.conditions.first() else {
        return None;
    };
    let until = Test::Date("lt", draws::year_after(from)?);
    let until = Condition::Own(Criterion { parameter: Rc::clone(parameter), test: until });
    Some(Query::of(&kept.name, vec![first.conditions.first()?.clone(), until]))
}

fn any_of(world: &World, dice: &mut Dice) -> Option<Query> {
    let drawn = drawn(world, dice, Token)?;
    let mut all = Vec::new();
    for _ in 0..4 {
        let other = dice.pick(&drawn.kept.samples)?.draw(dice, drawn.kept, drawn.parameter);
        if let Some(Test::AnyCode(codes)) = other.and_then(|other| draws::code(&other, dice)) {
            all.extend(codes);
        }
    }
    all.sort();
    all.dedup();
    (all.len() > 1).then(|| Query::of(&drawn.kept.name, vec![own(&drawn, Test::AnyCode(all))]))
}

fn missing(world: &World, dice: &mut Dice, missing: bool) -> Option<Query> {
    let kept = dice.pick(&world.types)?;
    // R4 has the modifier for all parameters but composites.
    let parameter = dice.pick(&kept.parameters).filter(|one| one.param_type != Composite)?;
    let test = Test::Missing(missing);
    let condition = Condition::Own(Criterion { parameter: Rc::clone(parameter), test });
    Some(Query::of(&kept.name, vec![condition]))
}

/// What belongs to one patient.
fn by_patient<'w>(world: &'w World, dice: &mut Dice) -> Option<(Drawn<'w>, Condition)> {
    let drawn = world.draw(dice, |one| one.code == "patient" && one.param_type == Reference)?;
    let condition = own(&drawn, draws::address(&drawn, dice)?);
    Some((drawn, condition))
}

fn patient_and(world: &World, dice: &mut Dice, types: &[ParamType]) -> Option<Query> {
    let (drawn, condition) = by_patient(world, dice)?;
    let mut conditions = vec![condition];
    for param_type in types {
        conditions.push(draws::further(&drawn, dice, *param_type)?);
    }
    known(&drawn, conditions)
}

fn token_and_date(world: &World, dice: &mut Dice) -> Option<Query> {
    let drawn = drawn(world, dice, Token)?;
    known(&drawn, vec![own(&drawn, draws::code(&drawn, dice)?), draws::further(&drawn, dice, Date)?])
}

/// A condition on what is at the end of so many references, and the resource at their start.
fn chain(world: &World, dice: &mut Dice, param_type: ParamType, steps: usize) -> Option<Query> {
    let drawn = drawn(world, dice, Reference)?;
    let condition = draws::chain(world, &drawn, dice, param_type, steps)?;
    let known = drawn.sample.address.split_once('/').map(|(_, id)| id.to_owned());
    Some(Query { known, ..Query::of(&drawn.kept.name, vec![condition]) })
}

fn has(world: &World, dice: &mut Dice, param_type: ParamType) -> Option<Query> {
    let drawn = drawn(world, dice, Reference)?;
    let (target, id) = super::value::reference(drawn.element)?.split_once('/')?;
    world.kept(target)?;
    let inner = Box::new(draws::further(&drawn, dice, param_type)?);
    let condition = Condition::Has { source: drawn.kept.name.clone(), through: Rc::clone(drawn.parameter), inner };
    Some(Query { known: Some(id.to_owned()), ..Query::of(target, vec![condition]) })
}

fn include(world: &World, dice: &mut Dice) -> Option<Query> {
    let drawn = drawn(world, dice, Reference)?;
    super::value::reference(drawn.element)?;
    let condition = draws::further(&drawn, dice, Token)?;
    Some(Query { include: Some(Rc::clone(drawn.parameter)), ..Query::of(&drawn.kept.name, vec![condition]) })
}

/// Of one resource, or of a page of a type that has not many fewer resources than the one that refers to it.
fn revinclude(world: &World, dice: &mut Dice, is_of_one: bool) -> Option<Query> {
    const MOST_REFERRERS: u64 = 5;
    let drawn = drawn(world, dice, Reference)?;
    let (target, id) = super::value::reference(drawn.element)?.split_once('/')?;
    let kept = world.kept(target)?;
    let revinclude = Some((drawn.kept.name.clone(), Rc::clone(drawn.parameter)));
    if is_of_one {
        let parameter = Rc::clone(kept.parameters.iter().find(|one| one.code == "_id")?);
        let test = Test::AnyCode(vec![(None, Some(id.to_owned()))]);
        let condition = Condition::Own(Criterion { parameter, test });
        return Some(Query { revinclude, ..Query::of(target, vec![condition]) });
    }
    if drawn.kept.total > kept.total * MOST_REFERRERS {
        return None;
    }
    let matches = kept.draw(dice, |one| one.param_type == Token && !one.code.starts_with('_'))?;
    let condition = own(&matches, draws::code(&matches, dice)?);
    Some(Query { revinclude, ..Query::of(target, vec![condition]) })
}

fn sorted(world: &World, dice: &mut Dice, param_type: ParamType, descends: bool) -> Option<Query> {
    let drawn = world.draw(dice, |one| one.param_type == param_type)?;
    Some(Query { sort: vec![(Rc::clone(drawn.parameter), descends)], ..Query::of(&drawn.kept.name, Vec::new()) })
}

fn sorted_by_two(world: &World, dice: &mut Dice) -> Option<Query> {
    let drawn = drawn(world, dice, Date)?;
    let other = drawn.kept.draw(dice, |one| matches!(one.param_type, Text | Token) && !one.code.starts_with('_'))?;
    let condition = draws::further(&drawn, dice, Token)?;
    let sort = vec![(Rc::clone(drawn.parameter), false), (Rc::clone(other.parameter), true)];
    Some(Query { sort, ..Query::of(&drawn.kept.name, vec![condition]) })
}

/// The matches of a query by a date, descending.
fn newest_first(world: &World, dice: &mut Dice, filtered: impl Fn(&mut Dice) -> Option<Query>) -> Option<Query> {
    let filtered = filtered(dice)?;
    let by = world.kept(&filtered.target)?.draw(dice, |one| one.param_type == Date)?;
    Some(Query { sort: vec![(Rc::clone(by.parameter), true)], known: None, ..filtered })
}

fn everything(world: &World, dice: &mut Dice) -> Option<Query> {
    let patient = dice.pick(&world.kept("Patient")?.samples)?;
    Some(Query { shape: Shape::Record, ..Query::of(&format!("{}/$everything", patient.address), Vec::new()) })
}
