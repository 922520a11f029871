"""Composes the prompt of a run from the base model's vocabulary, the taxonomy and the settings."""

from pathlib import Path

from configs.training import PromptSettings
from data_contracts.artifacts import Base
from data_contracts.prompt import Prompt, choose_template, instruct
from data_contracts.taxonomy import Taxonomy
from deploy.tokenizer import Tokens


def compose(base: Base, taxonomy: Taxonomy, settings: PromptSettings) -> Prompt:
    """The prompt; refuses a taxonomy whose codes are not one token with this model.

    Raises:
        ModelLoadError: no tokenizer, or a code that is not one token.
    """
    tokens = Tokens.load(Path(base.path))
    taxonomy.code_ids(tokens)
    named = [(c.code, c.name_zh, c.definition) for c in taxonomy.categories]
    return Prompt(
        template=choose_template(tokens),
        instruction=instruct(named, settings.tells),
        max_call_tokens=settings.max_call_tokens,
        head_share=settings.head_share,
    )
