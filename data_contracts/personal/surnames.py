"""Surnames, what cannot stand in a given name, and forms of address."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

# The most frequent surnames (over 90 % of people), without those that are mostly other words in a call (时 和 平 车 …).
SINGLE = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦"
    "邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁符舒阮柯纪梅童"
    "凌毕裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳古穆司卓仇项褚窦戚岑褟闵佘晏娄麦应萧傅赖洪瞿"
)
# Surnames that are mostly other words: only where the words around leave no doubt.
RARE = (
    "时平车明水连边代仝冀郎桑桂濮麻全班仰仲伊宫文季支冷卞党桓景荣常佟栾计米卜池匡封单昌荆奚苟占巫隋缪虞练"
    "丛芦卜逄迟甄鄢鄂郜郗阎粟廉沙敖敬臧蔺储原区谈"
    "云费邬贝狄伏茅席刁宗宣郁杭吉钮荀芮厉戎祖束幸索屠胥闻贡劳姬雍寿燕浦尚农茹戈衡寇巩晁简竺"
)
# Surnames that are hardly ever anything else before two characters of a name: any words may stand around.
PURE = (
    "王李张刘陈杨赵吴徐孙胡朱郭罗梁宋郑韩唐冯董曹袁邓傅沈彭曾吕苏卢蒋蔡贾丁魏薛阎闫潘杜戴汪姜范姚谭廖邹熊陆郝孔崔邱秦顾侯邵孟尹黎贺赖龚庞樊殷施陶洪翟颜倪俞鲁葛韦聂"
    "焦柳邢岳莫庄祁耿涂牟柯覃褚窦戚佘闵娄邬仇阮裴霍骆冉辛靳乔钟田叶毕季詹林黄谢何余许周萧肖鲍章柴芦卜阚"
)
# What a customer speaks of, and what happens next: no part of a name.
NOT_IN_NAME = (
    "费餐网络宽带机卡码量块钱单务订退款扣充缴停息短账户时候分钟套业站局所公司院校店行部门路街区县市镇乡村苑楼栋室层座湾河岛省州第每次种件条张款型度件价账期份样边面方位哪回跑谈跟"
    "错慢快坏断修装退换开关听看写签收寄送拿买卖吃喝走找叫喊接挂拨吵骂投诉级器板线表灯盒套牌照证票据"
)
COMPOUND = (
    "欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|慕容|令狐|司徒|夏侯|端木|南宫"
    "|独孤|长孙|宇文|轩辕|呼延|申屠|闻人|澹台|公冶|赫连|太史"
)
NOT_GIVEN = (
    "我你您他她它们的了是在有要想不就都也还又很和跟与这那哪个什怎么吗呢啊吧呀哦嗯给把被让找说问请谢对好打来去到从会能可得过着号电手身家住已没先再为"
    "因所但如而或之其此些点儿话今昨现办用叫联密发您被报查登确"
)
OFTEN_GIVEN = frozenset(
    # Characters that hardly stand in anything but names.
    "琛瑾昱珂斐宸骏峥玫菁韬钧葵楠帅锐洲奇岩松霖彦栩桦槿楷楹柠栀棠梵沅沄泠洛涵淳湉漪潞瀛烽焱煊燊犇玘玖珩珣珞珮珽琉琬瑀瑗瑭璋璎畴睦祎祯稷穆筱绫缙翌翩聿芃芊苓茉茗荔菀菡葭蓁"
    "蔚蕙薰蘅衍襄轲邈铄铎铖锟镕隽霁霏韫颢馨骋鲲麒麟黛旎旖晔晟曜朔桓梧椿槐榛浔涟淙滢灏炫烜煦熹珉珲祺禛笙筝纾绾缨耘臻芮苡荻莘萦蝶轶"
    "玥珺琮欢乐笑晴岚冰寒畅展勤俭恭振泉川野鸣翀赟喆淇进立兵东文光仁义诚信海山才生贵喜民勤军涵丹蕾淼昊睿煜圆彩妮伟芳娜敏静磊强洋勇艳杰娟涛超明霞平刚英兰华燕雪梅国军春红轩浩然梓涵欣怡诺泽宇航诗佳琪思远嘉豪俊熙丽凤淑珍德胜庆楠晨曦若玉振佑云飞秋志鹏鑫龙波斌辉健林峰"
    "凯悦婷颖慧琳莉萍莹瑶蕾薇倩璐宁毅哲博宏洁琴青松森祥福贵荣昌兴旺宝贤良义仁智亮彬彪晖晓旭昊晗睿瑞彤妍娇媛婉妮嫣菲芸芬茹莎菊萱蓉馨珊玲琼瑜璇美惠淼清源泉潇澜"
    "子可安雨望蕊丹沐阳奕辰雅乐乔凡希语桐芷晴彦泓绍坤鸿铭钧锋铮锐钰锦昱昕昀晏景暄曼朵朗杉枫柏栋梁楚榕樱歆沁沛沫泊洪淇渊渝湘湛溪滨澄澈灿炎炜烁烨焕煜煊熠爽牧"
    "玄玮珂珏珉珺琦琮琰瑄瑛璟璞甜畅盈砚硕祺禹秉竹筠纯纬绮维缘翊翎翔翰耀聪胤舒舟艺芝苑苒茜茵荃荷莲莺萌葵蓓蔓虎虹裕诚谦谨贝贞赫越迎逸遥邦郁郡银雁雄雯霆霄霖霜"
    "靖韬韵顺颂骁骏骐鲁鸣鹃鹤黎齐龄民爱"
)
OFTEN_FIRST = OFTEN_GIVEN | frozenset(
    "大小文家建志永海金桂秀月翠铁根有来再如为亚卫立世守学长满招胜素圆一少广正喜冬夏银彩巧宏孝廷元光启培基存宗宜宪富寿展崇希帅弘影征忆忠念怀恒恩承捷敬新显普智朝树"
    "梦楷武泰润满灵炳照献理盛益礼祖科继维群茂豪贤跃达远进镇闯嘉亦圣友双丰业仕佩修力勤向君善晶木洪玟砚笑粉细绣耀若菁荷蓝诸述雁雄震静香魁"
)
OFTEN_LAST = OFTEN_GIVEN | frozenset(
    "花月娥柱根生才来川山望丹蕊民文卫男弟妹娣仓贵东勋武兵义全发财富喜礼宾岩堂基成胜利友忠信孝元光雄达远进新芹芝珠仙香秀圆玥宸皓帆墨言一心童锁牛栓宽奎魁彩君晶"
    "花恒恩照群茂豪礼武震仪业力勤善"
)
TITLES = (
    "先生",
    "女士",
    "小姐",
    "太太",
    "阿姨",
    "大姐",
    "大哥",
    "大爷",
    "大妈",
    "奶奶",
    "大叔",
    "叔叔",
    "同学",
    "律师",
    "医生",
    "警官",
)
# As often a trade as a form of address (安装师傅): a surname alone may stand before.
JOBS = ("老师", "师傅", "经理", "主任", "总", "工", "哥", "姐", "队长", "科长", "主管", "店长", "站长")
CLIPPED = ("总", "工", "哥", "姐")  # more often a part of another word
# Words that end with a surname: 对方经理, 外包师傅, 由于, 现金 …
ENDINGS = (
    "由于|关于|对于|等于|终于|属于|位于|在于|至于|平安|保安|公安|治安|西安|晚安|不安|资金|现金|押金|基金|奖金|租金|美金|约金|对方|地方|官方|警方|双方|甲方|乙方"
    "|三方|贵方|我方|你方|店方|厂方|提高|最高|很高|线路|电路|公路|马路|一路|网路|走路|外包|承包|打包|工程|流程|课程|教程|经常|平常|非常|正常|异常|日常|如何|任何|了解|有关|相关"
    "|海关|没关|责任|信任|班任|供应|反应|响应|主管|机房|库房|厨房|住房|支付|交付|垫付|应付|代付|预付|退钱|扣钱|花钱|交钱|的钱|费钱|赔钱|价钱|本钱|多少钱|其余|业余|容易|交易|网易|简易"
    "|健康|完成|变成|形成|造成|时段|阶段|路段|手段|水管|不管|尽管|宽带|导游|旅游|上周|下周|本周|这周|一周|每周|两周|几周|三周|四周|上万|几万|一万|两万|百万|十万|明白|空白|苹果"
    "|产品|项目|柜台|施工|明华|中华|豪华|清华|光华|年华|小白|小龙|司徒|信号|电梅|服务|行程|技术|全程|远程|历史|丰田|本田|农田|东风|木林|森林|园林|面积|大陆|登陆|着陆|雷石"
)
# Words that end with one of PURE; and what is counted in it.
PURE_ENDINGS = (
    r"师傅|[也允或准不]许|多余|剩余|盈余|为何|几何|[森树造]林|[感多致酬答]谢|[发变]黄|[外重玄]孙|[大霸国天女]王|行李|夸张|紧张|开张|主张|慌张|扩张|嚣张|纸张|子孙|儿孙|二胡|包罗|张罗|收罗|桥梁|鼻梁|荒唐|古董|[不未]曾|[江复流]苏|园丁|[烟茶百树红]叶|爱戴|[穿佩]戴|[规模示防]范|生姜|[大登着内]陆"
    r"|[面鼻]孔|[照光不回只兼]顾|[措设实]施|熏陶|山洪|容颜|粗鲁|瓜葛|[心聚对]焦|山岳|[村钱山]庄|[分点闹时秒]钟|[水农油煤气]田|[完不]毕|[四雨旺淡一二两三每这上下本]季|[一两二三四五六七八九十几半这那每多]张"
)
FAMILIAR = (
    "王李张刘陈杨黄赵吴周徐孙朱胡郭何林罗郑梁宋唐许韩冯邓曹彭曾田董袁潘蔡蒋余于杜叶魏苏吕丁任卢姚沈钟姜崔"
    "谭陆范汪廖韦贾夏邹熊孟秦邱侯尹薛闫雷史陶贺郝顾龚邵覃戴"
)


@cache
def words() -> dict[str, Any]:
    """`words`: surname → characters that make a word of it; `never`: words even where a name is told."""
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
    return {"words": {k: frozenset(v) for k, v in content["words"].items()}, "never": frozenset(content["never"])}


def is_word(name: str) -> bool:
    """Whether what looks like a name begins with a common word, and does not end like one (程序员, but not 高明辉)."""
    if is_never_a_name(name) or len(name) < 2:
        return is_never_a_name(name)
    if re.match(COMPOUND, name) or name[1] not in words()["words"].get(name[0], ()):
        return False
    return len(name) == 2 or name[2] not in OFTEN_GIVEN


def is_never_a_name(name: str) -> bool:
    """Whether it begins with a word that nobody is called."""
    return name[:2] in words()["never"]
