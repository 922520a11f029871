"""What `./tingsu demo` does, told as it happens."""

import sys
import time
from typing import Any

from configs.places import PortSettings
from data_contracts.errors import ConfigurationError
from flows.commands.data import write_sample
from flows.commands.models import ending_text
from flows.commands.running import flow_of
from flows.commands.service import sentence
from flows.session import Session, open_session

CALLS = (
    "客户：这个月账单多出来六十块钱，我根本没开过什么视频会员，谁给我开通的\n客服：请您稍等，我帮您查询一下\n"
    "客户：我没有同意过，你们怎么能自己给我开，马上给我取消，把钱退了\n客服：好的，我已经为您登记",
    "客户：宽带报修三天了没人上门，光猫一直亮红灯\n客服：请问这个情况是什么时候开始的\n"
    "客户：上周五就断了，重启了好几次都不行，家里孩子要上网课，你们到底管不管\n客服：非常抱歉，我给您加急",
    "客户：你好，我想问一下上次申请的退费大概几天能到账，我不着急，就是问一下\n客服：请您稍等，我帮您查询一下\n"
    "客户：好的，麻烦你了\n客服：系统显示已经在处理，三个工作日内到账\n客户：行，那我知道了，谢谢",
)


def demonstrate(calls: int, seed: int, sets: list[str]) -> int:
    """Sample, submit, retrain, classify; returns the exit code. A HOLD or REJECT is told as it is."""
    from data_contracts.schema import Call
    from deploy import keys
    from deploy.client import Client

    started = time.monotonic()
    session = open_session(sets=sets)
    refuse_real_data(session)
    file = session.home / "samples" / f"calls-{calls}-{seed}.jsonl"
    _say(f"1/4 {calls:,} synthetic calls, seed {seed} → {file}")
    if not file.exists():
        write_sample(calls, seed, file)
    _say("2/4 submit: contract check, personal data masked, kept under its digest")
    dataset = flow_of("submit", "tiny", sets)(str(file), None, {}, None, "tiny", sets)
    _say("3/4 retrain: split, baseline, LoRA, merge, quantize, bundle, benchmark, gate, release")
    ending = flow_of("retrain", "tiny", sets)(dataset["id"], "tiny", [], sets)
    print(f"\n{ending_text(ending)}\n")
    _tell_baseline(ending)
    if ending["release"] is None:
        return 3
    _say("4/4 classify on the live service")
    with Client(ending["release"]["endpoint"], key=keys.machine(session.home)) as client:
        for text, answer in zip(CALLS, client.classify([Call(text=text) for text in CALLS]), strict=True):
            print(f"  {text.splitlines()[0][:30]}…\n    → {sentence(answer)}")
    print(_where(ending, time.monotonic() - started, session.settings.ports))
    return 0


def refuse_real_data(session: Session) -> None:
    """The demo would judge, and release, beside the real thing.

    Raises:
        ConfigurationError: this home holds a dataset that is not synthetic.
    """
    from tasks import catalog

    real = [d.name for d in catalog.listed(session.store) if not d.synthetic]
    if real:
        raise ConfigurationError(
            f"{session.home} holds real data ({', '.join(real[:3])}); run the demo in a home of its own: "
            "TINGSU_HOME=/tmp/tingsu-demo ./tingsu demo"
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell_baseline(ending: dict[str, Any]) -> None:
    baseline, served = (ending["reports"][hop]["metrics"]["macro_f1"] for hop in ("baseline", "served"))
    if baseline > served:
        print(
            f"TF-IDF with logistic regression is better here ({baseline:.3f} against {served:.3f}): the tiny base is for trying the\n"
            "pipeline. Outside profile tiny the gate refuses a model that does not beat it.\n"
        )


def _where(ending: dict[str, Any], seconds: float, ports: PortSettings) -> str:
    version = ending["version"]["version"]
    endpoint = ending["release"]["endpoint"]
    return (
        f"\ndone in {seconds:.0f} s. Where to look:\n"
        f"  the service       {endpoint}/docs, ./tingsu verify, ./tingsu classify 'TEXT'\n"
        f"  the evidence      ./tingsu why {version}, ./tingsu gate {version}, ./tingsu history\n"
        f"  MLflow, Prefect   ./tingsu up, then http://127.0.0.1:{ports.mlflow}/#/experiments/1/runs and "
        f"http://127.0.0.1:{ports.prefect}\n"
        "  stop it all       ./tingsu down"
    )
