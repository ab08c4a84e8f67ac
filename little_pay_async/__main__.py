"""`python -m little_pay_async` is `little-pay`."""

from little_pay_async._cli import main

if __name__ == "__main__":
    main()
