"""Why an operator's emergency verdict does not hold."""

_SIGN_AGAIN = (
    "have the gate judge the bundle, or sign again: ./tingsu emergency {version} --operator NAME --reason WHY",
    "请让门禁评判该模型包，或重新签发：./tingsu emergency {version} --operator NAME --reason WHY",
)

TABLE: dict[str, tuple[str, str]] = {
    # an emergency verdict that does not hold
    "emergency_untrusted": (
        "the emergency verdict of {operator} on bundle {bundle} counts for nothing here: this home does not trust that operator, or no "
        "longer does",
        "{operator} 对模型包 {bundle} 的应急裁决在此无效：本目录不信任（或不再信任）该操作员",
    ),
    "emergency_edited": (
        "the emergency verdict of {operator} on bundle {bundle} was not signed by that operator's key, or was changed after it was signed",
        "{operator} 对模型包 {bundle} 的应急裁决不是由该操作员的密钥签名，或签名后被改动",
    ),
    "emergency_of_other": (
        "the emergency verdict of {operator} on bundle {bundle} does not cover bundle {other}",
        "{operator} 对模型包 {bundle} 的应急裁决不适用于模型包 {other}",
    ),
    "emergency_too_long": (
        "the emergency verdict of {operator} on bundle {bundle} would last {lasts}, and at most {most} is allowed",
        "{operator} 对模型包 {bundle} 的应急裁决有效期为 {lasts}，最长允许 {most}",
    ),
    "emergency_in_future": (
        "the emergency verdict of {operator} on bundle {bundle} is of {at}, which is in the future",
        "{operator} 对模型包 {bundle} 的应急裁决时间是 {at}，晚于现在",
    ),
    "emergency_in_future.remedy": ("set this machine's clock", "请校准本机时钟"),
    "emergency_expired": (
        "the emergency verdict of {operator} on bundle {bundle} expired at {at}",
        "{operator} 对模型包 {bundle} 的应急裁决已于 {at} 过期",
    ),
    "emergency_expired.remedy": _SIGN_AGAIN,
    "emergency_clock": (
        "the emergency verdict of {operator} on bundle {bundle} expired at {at}; the clock was set back since: if it was wrong before, "
        "remove {mark}",
        "{operator} 对模型包 {bundle} 的应急裁决已于 {at} 过期；此后时钟被调回：如果之前的时间有误，请删除 {mark}",
    ),
    "emergency_clock.remedy": _SIGN_AGAIN,
    "emergency_undeclared": (
        "the emergency verdict of {operator} on bundle {bundle} is not in the history of this home: it was signed past it",
        "{operator} 对模型包 {bundle} 的应急裁决不在本目录的历史中：签发时绕过了历史",
    ),
    "emergency_undeclared.remedy": (
        "declare it: ./tingsu emergency {version} --operator NAME --reason WHY",
        "请正式签发：./tingsu emergency {version} --operator NAME --reason WHY",
    ),
    "emergency_unreadable": ("its {file} cannot be read", "其 {file} 无法读取"),
    "emergency_needless": (
        "version {version} needs no emergency verdict, the gate's own admits it",
        "版本 {version} 不需要应急裁决，门禁已准予上线",
    ),
    "emergency_needless.remedy": ("promote it: ./tingsu promote {version}", "请直接晋级：./tingsu promote {version}"),
}
