//! Values to search for, from an element that the server returned.

use super::criterion::{Condition, Criterion, Test};
use super::value::{Amount, Span, codes, reference, texts};
use super::world::{Drawn, World};
use crate::drive::Dice;
use pharos::fhir::definitions::ParamType;
use std::rc::Rc;

/// Shorter texts find half of everything.
const SHORTEST: usize = 3;

/// A criterion by the parameter that a value was drawn for.
pub fn own(drawn: &Drawn<'_>, test: Test) -> Condition {
    Condition::Own(Criterion { parameter: Rc::clone(drawn.parameter), test })
}

/// The first letters and digits of a text: at least three.
pub fn start(drawn: &Drawn<'_>, dice: &mut Dice) -> Option<Test> {
    let word = word(dice.pick(&texts(drawn.element))?)?;
    Some(Test::Starts(word.chars().take(SHORTEST + dice.below(4)).collect()))
}

pub fn exact(drawn: &Drawn<'_>, dice: &mut Dice) -> Option<Test> {
    let text = (*dice.pick(&texts(drawn.element))?).to_owned();
    (text.len() >= SHORTEST).then_some(Test::Exactly(text))
}

/// Letters from inside of a text.
pub fn part(drawn: &Drawn<'_>, dice: &mut Dice) -> Option<Test> {
    let word = word(dice.pick(&texts(drawn.element))?)?;
    let part: String = word.chars().skip(1).take(SHORTEST + dice.below(3)).collect();
    (part.chars().count() >= SHORTEST).then_some(Test::Contains(part))
}

fn word(text: &str) -> Option<&str> {
    let end = text.find(|char: char| !char.is_alphanumeric()).unwrap_or(text.len());
    text.get(..end).filter(|word| word.chars().count() >= SHORTEST)
}

/// The resource's own id.
pub fn id(drawn: &Drawn<'_>) -> Option<Test> {
    Some(Test::AnyCode(vec![(None, Some(drawn.element.as_str()?.to_owned()))]))
}

pub fn code(drawn: &Drawn<'_>, dice: &mut Dice) -> Option<Test> {
    let found = codes(drawn.element);
    Some(Test::AnyCode(vec![(None, Some(dice.pick(&found)?.text.to_owned()))]))
}

pub fn coded(drawn: &Drawn<'_>, dice: &mut Dice) -> Option<Test> {
    let mut found = codes(drawn.element);
    found.retain(|code| code.has_system && code.system.is_some());
    let code = dice.pick(&found)?;
    Some(Test::AnyCode(vec![(code.system.map(str::to_owned), Some(code.text.to_owned()))]))
}

/// `system|`: any code of it.
pub fn system(drawn: &Drawn<'_>, dice: &mut Dice) -> Option<Test> {
    let mut found = codes(drawn.element);
    found.retain(|code| code.has_system && code.system.is_some());
    Some(Test::AnyCode(vec![(dice.pick(&found)?.system.map(str::to_owned), None)]))
}

pub fn not_code(drawn: &Drawn<'_>, dice: &mut Dice) -> Option<Test> {
    match code(drawn, dice)? {
        Test::AnyCode(codes) => Some(Test::NoCode(codes)),
        _ => None,
    }
}

/// `Type/id` of what the element refers to.
pub fn address(drawn: &Drawn<'_>, _: &mut Dice) -> Option<Test> {
    reference(drawn.element).map(|address| Test::Refers(address.to_owned()))
}

/// A date as it is written.
pub fn moment(drawn: &Drawn<'_>, prefix: &'static str) -> Option<Test> {
    Some(Test::Date(prefix, drawn.element.as_str()?.to_owned()))
}

/// A date, mostly a day; also a month, a year, or the whole text.
pub fn date(drawn: &Drawn<'_>, dice: &mut Dice, prefix: &'static str) -> Option<Test> {
    Span::of(drawn.element)?;
    let bound = |name| drawn.element.get(name).and_then(|bound| bound.as_str());
    let text = drawn.element.as_str().or_else(|| bound("start")).or_else(|| bound("end"))?;
    let len = *dice.pick(&[10, 10, 10, 7, 4, text.len()])?;
    let text = text.get(..len.min(text.len()))?;
    Span::parse(text).map(|_| Test::Date(prefix, text.to_owned()))
}

/// The first day of the year after a date's.
pub fn year_after(date: &str) -> Option<String> {
    let year: u16 = date.get(..4)?.parse().ok()?;
    Some(format!("{:04}-01-01", year + 1))
}

pub fn amount(drawn: &Drawn<'_>, prefix: &'static str, has_unit: bool) -> Option<Test> {
    let amount = Amount::of(drawn.element)?;
    let unit = amount.unit.map(|(system, code)| (system.to_owned(), code.to_owned()));
    let unit = if has_unit { Some(unit?) } else { None };
    Some(Test::Amount(prefix, amount.value.to_string(), unit))
}

/// One value for each component; the last one with a prefix where it is ordered.
pub fn composite(drawn: &Drawn<'_>, dice: &mut Dice, prefix: &'static str) -> Option<Test> {
    let components = &drawn.parameter.components;
    let mut tests = Vec::new();
    for (place, component) in components.iter().enumerate() {
        let element = *dice.pick(&component.elements(drawn.element))?;
        let drawn = Drawn { element, ..*drawn };
        let prefix = if place + 1 == components.len() { prefix } else { "" };
        tests.push(match component.param_type {
            ParamType::Token => coded(&drawn, dice)?,
            ParamType::Quantity => amount(&drawn, prefix, dice.below(2) == 0)?,
            ParamType::Date => date(&drawn, dice, prefix)?,
            ParamType::String => start(&drawn, dice)?,
            ParamType::Reference => address(&drawn, dice)?,
            _ => return None,
        });
    }
    Some(Test::Composite(tests))
}

/// Another criterion that the same resource meets.
pub fn further(drawn: &Drawn<'_>, dice: &mut Dice, param_type: ParamType) -> Option<Condition> {
    let is_wanted = |code: &str| !code.starts_with('_') && code != "identifier";
    let parameters: Vec<_> =
        drawn.kept.parameters.iter().filter(|one| one.param_type == param_type && is_wanted(&one.code)).collect();
    let parameter = *dice.pick(&parameters)?;
    let other = drawn.sample.draw(dice, drawn.kept, parameter)?;
    let test = match param_type {
        ParamType::Token => code(&other, dice)?,
        ParamType::Date => date(&other, dice, "ge")?,
        ParamType::Quantity => amount(&other, "", true)?,
        ParamType::String => start(&other, dice)?,
        _ => return None,
    };
    Some(own(&other, test))
}

/// A criterion that what is at the end of so many references meets.
pub fn chain(
    world: &World,
    drawn: &Drawn<'_>,
    dice: &mut Dice,
    param_type: ParamType,
    steps: usize,
) -> Option<Condition> {
    let target = world.at(reference(drawn.element)?)?;
    let kept = world.kept(target.address.split_once('/')?.0)?;
    let end = |param_type: ParamType, dice: &mut Dice| {
        let parameters: Vec<_> = kept.parameters.iter().filter(|one| one.param_type == param_type).collect();
        let parameter = *dice.pick(&parameters)?;
        target.draw(dice, kept, parameter)
    };
    let inner = if steps > 1 {
        chain(world, &end(ParamType::Reference, dice)?, dice, param_type, steps - 1)?
    } else {
        let drawn = end(param_type, dice)?;
        let test = match param_type {
            ParamType::Date => date(&drawn, dice, "")?,
            ParamType::Token => code(&drawn, dice)?,
            _ => start(&drawn, dice)?,
        };
        own(&drawn, test)
    };
    let through = Rc::clone(drawn.parameter);
    Some(Condition::Chain { through, target: kept.name.clone(), inner: Box::new(inner) })
}
