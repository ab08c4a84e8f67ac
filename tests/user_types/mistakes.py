"""Mistakes of a user that a type checker must find, in the lines that say so and in no other.

`nox -s package` has mypy and pyright look at it, in strict mode, from where the wheel is installed.
"""

from little_pay_async import AsyncLittlePay, Payment, PaymentStatus, Refund


async def mistakes(pay: AsyncLittlePay, payment: Payment) -> Refund:
    await pay.wait("ORDER42", timeout="2 minutes")  # refused
    await pay.wait("ORDER42", timeout=120)
    pay.statuss("ORDER42")  # refused
    payment.amount + 1  # refused
    if payment.amount is not None:
        await pay.refund(payment, payment.amount)
    (await pay.refund(payment, 1)).status = PaymentStatus.COMPLETED  # refused
    for settlement in pay.watch(["ORDER42"]):  # refused
        del settlement
    async for settlement in pay.watch(["ORDER42"]):
        settlement.elapsed + "s"  # refused
    AsyncLittlePay("api-key")  # refused
    return await pay.status("ORDER42")  # refused
