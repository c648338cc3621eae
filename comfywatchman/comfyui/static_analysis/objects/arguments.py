"""Bind the arguments of a call to the parameters of a function of the pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comfywatchman.comfyui.static_analysis.expressions import ExpressionEvaluator
from comfywatchman.comfyui.static_analysis.values import AbstractDict, AbstractList, FuncRef, NameScope, Value


def bind_arguments(
    interpreter: ExpressionEvaluator,
    function: FuncRef,
    arguments: Sequence[Value],
    keywords: Mapping[str, Value],
    scope: NameScope,
) -> None:
    """Bind the parameters of a function, in the scope of its call.

    Args:
        interpreter: Evaluates the defaults.
        function: The function.
        arguments: The positional arguments, beginning with the object or class that a method is bound to.
        keywords: The keyword arguments.
        scope: The scope of the call.
    """
    signature = function.node.args
    positional = [*signature.posonlyargs, *signature.args]
    # Defaults belong to the last parameters.
    for parameter, default in zip(reversed(positional), reversed(signature.defaults), strict=False):
        scope.names[parameter.arg] = interpreter.evaluate(default, function.scope)
    for parameter, keyword_default in zip(signature.kwonlyargs, signature.kw_defaults, strict=True):
        scope.names[parameter.arg] = interpreter.evaluate(keyword_default, function.scope)
    for parameter, value in zip(positional, arguments, strict=False):
        scope.names[parameter.arg] = value
    names = {parameter.arg for parameter in (*positional, *signature.kwonlyargs)}
    other_keywords: dict[Value, Value] = {}
    for name, value in keywords.items():
        if name in names:
            scope.names[name] = value
        else:
            other_keywords[name] = value
    if signature.vararg:
        scope.names[signature.vararg.arg] = AbstractList(list(arguments[len(positional) :]))
    if signature.kwarg:
        scope.names[signature.kwarg.arg] = AbstractDict(other_keywords)
