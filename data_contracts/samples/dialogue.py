"""One call's turns: who says what, in which order."""

from dataclasses import dataclass
from random import Random

from data_contracts.samples import noise, personal
from data_contracts.samples.grammar import Line, Voice, pick
from data_contracts.samples.material import Category, Material, Scenario
from data_contracts.samples.personal import Planted

Turn = dict[str, str]
PERSONAL_SHARE = 0.35  # of calls
INTRODUCED_SHARE = 0.25  # of the calls with personal data: the caller gives a name at once, too
VAGUE_OPENING_SHARE = 0.65
EARLIER_SHARE = 0.42  # a call that first tells of an earlier matter, now over
MIXED_SHARE = 0.35  # a complaint that mentions something else in passing
MIXED_QUESTION_SHARE = 0.15  # the same, of calls that are no complaint
BORROWED_AGENT_SHARE = 0.5  # the agent answers as if it were a neighbouring category
ONE_DETAIL_SHARE = 0.6
OWN_DEMAND_SHARE = 0.4
ANGRY_SHARE = 0.6  # of complaints; the others stay polite
CHATTER_SHARE = 0.7
RAMBLE_SHARE = 0.45
EXPLAINED_SHARE = 0.7
OFFER_SHARE = 0.6
HESITANT_SHARE = 0.25  # of customers' turns
FAREWELL_SHARE = 0.4
NO_GREETING_SHARE = 0.3
SHORT_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Plot:
    """What a call is about, drawn before anything is said."""

    category: Category
    scenario: Scenario
    aside: Category | None
    earlier: Category | None
    planted: tuple[Planted, ...]


def draw_plot(rng: Random, material: Material, category: Category) -> Plot:
    scenario = pick(rng, category.scenarios)
    aside, earlier = _draw_aside(rng, material, category), _draw_earlier(rng, material, category)
    return Plot(category, scenario, aside, earlier, _draw_planted(rng, material))


def _draw_aside(rng: Random, material: Material, category: Category) -> Category | None:
    share = MIXED_SHARE if category.asides else MIXED_QUESTION_SHARE
    if rng.random() >= share:
        return None
    other = pick(rng, tuple(material.categories.values()))
    return other if other.asides and other is not category else None


def _draw_earlier(rng: Random, material: Material, category: Category) -> Category | None:
    if rng.random() >= EARLIER_SHARE:
        return None
    keys = category.confused_with if rng.random() < 0.5 else tuple(material.categories)
    other = material.categories[pick(rng, keys)]
    return other if other.asides and other is not category else None


def _draw_planted(rng: Random, material: Material) -> tuple[Planted, ...]:
    if rng.random() >= PERSONAL_SHARE:
        return ()
    asked = personal.plant(rng, pick(rng, personal.KINDS), material.personal)
    if "name" in asked.kind or rng.random() >= INTRODUCED_SHARE:
        return (asked,)
    return (asked, personal.plant(rng, "name", material.personal))


@dataclass(frozen=True, slots=True)
class Stage:
    """Where one call is played."""

    rng: Random
    material: Material
    plot: Plot
    voice: Voice
    error_rate: float

    def hears(self, text: str) -> str:
        return noise.mishear(self.rng, text, self.error_rate)

    def customer(self, *sentences: str) -> Turn:
        text = ("，" if self.chance(0.6) else "。").join(sentences)
        if self.chance(HESITANT_SHARE):
            text = noise.hesitate(self.rng, text)
        return {"speaker": "customer", "text": self.hears(text)}

    def agent(self, text: str) -> Turn:
        return {"speaker": "agent", "text": self.hears(text)}

    def common(self, name: str) -> str:
        return self.voice.say_one(self.material.common[name])

    def chance(self, share: float) -> bool:
        return self.rng.random() < share


def play(rng: Random, material: Material, plot: Plot) -> list[Turn]:
    """The turns of a call, 4 to 9, alternating."""
    stage = Stage(rng, material, plot, Voice(rng, material.fills), noise.error_rate(rng))
    turns = [] if stage.chance(NO_GREETING_SHARE) else [stage.agent(stage.common("greeting"))]
    turns += [_opening(stage), stage.agent(stage.common("probe"))]
    details = _details(stage, stage.plot.scenario)
    if stage.chance(SHORT_SHARE):
        turns.append(stage.customer(*_before(stage), *details, *_demands(stage)))
        turns += _exchange(stage)
    else:
        turns.append(stage.customer(*_before(stage), *details))
        turns += _exchange(stage)
        turns += [stage.agent(_answer(stage)), stage.customer(*_demands(stage))]
    turns.append(stage.agent(_closing(stage)))
    if not plot.planted and stage.chance(FAREWELL_SHARE):
        turns.append(stage.customer(stage.common("farewell")))
    return turns


def _opening(stage: Stage) -> Turn:
    is_vague = stage.chance(VAGUE_OPENING_SHARE)
    category = stage.plot.category
    lines = stage.material.vague[pick(stage.rng, category.families)] if is_vague else stage.plot.scenario.opening
    turn = stage.customer(stage.common("hello") + stage.voice.say_one(lines))
    if len(stage.plot.planted) > 1:
        turn["text"] = f"我叫{stage.plot.planted[1].value}，{turn['text']}"
    return turn


def _before(stage: Stage) -> list[str]:
    """What a caller says before the point: circumstances, or an earlier matter told in the words of its category."""
    said = [stage.common("chatter")] if stage.chance(CHATTER_SHARE) else []
    if stage.plot.earlier is None:
        return said
    stage.voice.values["other"] = "，".join(_details(stage, pick(stage.rng, stage.plot.earlier.scenarios)))
    return [*said, stage.common("earlier")]


def _closing(stage: Stage) -> str:
    offer = stage.common("offer") + "。" if stage.chance(OFFER_SHARE) else ""
    return offer + stage.common("closing")


def _details(stage: Stage, scenario: Scenario) -> list[str]:
    lines: list[Line] = stage.rng.sample(scenario.detail, 1 if stage.chance(ONE_DETAIL_SHARE) else 2)
    return [stage.voice.say(line) for line in lines]


def _answer(stage: Stage) -> str:
    category = stage.plot.category
    if stage.chance(BORROWED_AGENT_SHARE):
        category = stage.material.categories[pick(stage.rng, category.confused_with)]
    said = stage.common("sorry") + stage.voice.say_one(category.agent)
    return f"{said}。{stage.common('explain')}" if stage.chance(EXPLAINED_SHARE) else said


def _demands(stage: Stage) -> list[str]:
    category = stage.plot.category
    feeling = "vent" if category.asides and stage.chance(ANGRY_SHARE) else "polite"
    said = [stage.voice.say_one(category.demand)] if stage.chance(OWN_DEMAND_SHARE) else []
    said += [stage.common(feeling)] if not said or stage.chance(0.5) else []
    said += [stage.common("ramble")] if stage.chance(RAMBLE_SHARE) else []
    return [*said, *_aside(stage)]


def _aside(stage: Stage) -> list[str]:
    if stage.plot.aside is None:
        return []
    stage.voice.values["other"] = stage.voice.say_one(stage.plot.aside.asides)
    return [stage.common("mixed")]


def _exchange(stage: Stage) -> list[Turn]:
    """The agent asks for personal data and gets it: two turns, never misheard, so that what was planted is there."""
    if not stage.plot.planted:
        return []
    asked = stage.plot.planted[0]
    stage.voice.values["value"] = asked.value
    question, answer = stage.material.ask[asked.kind], stage.material.answer[asked.kind]
    return [
        stage.agent(stage.voice.say_one(question)),
        {"speaker": "customer", "text": stage.voice.say_one(answer)},
    ]
