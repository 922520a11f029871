"""What the words around a number say of it: a telephone, an identity card, a bank card, or none of a person's numbers."""

import re
from typing import Literal

from data_contracts.personal.found import BLANK

Cue = Literal["no", "phone", "id", "card"]
REACH = 32  # characters before a number

_ORDERS = (
    "订单|工单|单据|运单|快递|物流|流水|受理|案件|合同|保单|发票|票据|交易|支付|退款|设备|产品|商品|账单|凭证|回执|任务|报修单|预约|批次|事件|问题|资产|协议|档案|机器|光猫"
    "|路由器|机顶盒|包裹|取货|案子|单子|投诉单"
)
_THINGS = f"{_ORDERS}|投诉|服务|业务|充值|报修|报障|申请|宽带|电表|水表|燃气|用户|客户|会员|装机|追踪|跟踪|登记|户"
_CUE = re.compile(
    rf"(?P<no>(?:{_THINGS})的?(?:编号|编码|代码|单号|序号|账号|账户|ID|id)|(?:{_ORDERS})的?号(?!码)|(?:会员|户|电表|水表|参考|查询|备案|赔案|索赔|报案|提货|寄存|抄表)号(?!码)"
    r"|(?:订单|工单|单据|运单|快递|物流|流水|受理|案件|发票|合同|票)号码"
    r"|(?:充值|会员|SIM|sim|购物|加油|公交|流量|物联网|储值|礼品|积分)卡的?(?:卡?号|号码)"
    r"|[编批序案票串单](?:号|码)|编码|流水号?|序列号|验证码|校验码|密码|口令|IMEI|imei|ICCID|iccid|SN|条形?码|工号|代码|兑换码|取件码|券码|型号|卡密)"
    r"|(?P<id>身份证|证件|证号)"
    r"|(?P<card>卡号|银行|储蓄卡|信用卡|借记卡|工资卡|[工建农中招]行|账[户号]|[打汇转退]到)"
    r"|(?P<phone>手机|电话|联系|座机|固话|[打拨](?:给|我|这|的|通)?|来电|主叫|被叫|本机|短信|微信|号码|机主)"
)
# Named for what they count, not for a number; so only directly before one.
_JUST_BEFORE = re.compile(r"(?:订单|工单|案件|案子|快递|运单|流水|单子|编号|账单)(?:是|为|叫|[：:，, ]){0,2}$")
_JUST_AFTER = re.compile(r"[，, ]?(?:这个|那个|这张|的|是我的|是)?(?:订单|工单|单号|流水|案件|单子|编号)")
_CODE_BEFORE = re.compile(
    r"(?<![A-Za-z])(?!(?:tel|phone|mobile|qq|wx|vx|call|no|id)[-.:]?$)[A-Za-z]{1,12}[-_]?$|[A-Za-z0-9][-_/]$",
    re.IGNORECASE,
)
_CODE_AFTER = re.compile(r"[-_]?[A-Za-z](?![A-Za-z])|[-_][A-Za-z0-9]|[-_]?[A-Za-z]+[0-9]|[.%]\d")
_COUNTED = re.compile(r"[ ]?(?:元|块|毛|兆|字节|[GMKgmk][Bb]?(?![A-Za-z])|分钟)")
# Between 工单号 and its number: 是, 我给你念一下 …; other words, and the number is another thing's.
_LINK = re.compile(
    r"(?:[是为叫就我给你您报念说记查的呢啊嗯呃吗对好请个这那在，,：:。？?！! \n（(]"
    r"|一下|一遍|٢遍|那个|多少|什么|客户|客服|麻烦|提供|稍等|后面|刚才|显示|写着|发我|看看|已经){0,14}+$"
)
_IP = re.compile(r"\d{1,3}(?:[.·]\d{1,3}){3}$")
_WORDS = re.compile(r"[\u4e00-\u9fffA-Za-z]{2}")
_NUMBER = re.compile(r".*\d{4}", re.DOTALL)


def before(text: str, start: int) -> str:
    """What was said before a number: not further than REACH, nor than a mask or another number."""
    said = text[max(0, start - REACH) : start]
    said = said[said.rfind(BLANK) + 1 :]
    other = _NUMBER.match(said)
    return said[other.end() :] if other else said


def nearest(said: str) -> Cue | None:
    """The last words of `said` that tell what kind of number follows."""
    if not _WORDS.search(said):
        return None
    last = None
    for last in _CUE.finditer(said):  # noqa: B007
        pass
    if last is None or (last.lastgroup == "no" and not _LINK.match(said, last.end())):
        return None
    return last.lastgroup  # type: ignore[return-value]


def is_no_persons(text: str, start: int, end: int, said: str, cue: Cue | None) -> bool:
    """Whether a number that looks like a person's is an order's, a case's, a part of a code or an amount."""
    if cue == "no" or _IP.match(text[start:end]) or _JUST_BEFORE.search(said):
        return True
    near, after = text[max(0, start - 14) : start], text[end : end + 10]
    return bool(
        _JUST_AFTER.match(after) or _CODE_AFTER.match(after) or _CODE_BEFORE.search(near) or _COUNTED.match(after)
    )
