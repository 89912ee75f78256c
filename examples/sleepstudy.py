"""REML and posterior of one model, side by side: reaction times of 18 people who were kept awake.

Run it with `python examples/sleepstudy.py`.
"""

import bayesmm as bmm


def main() -> None:
    sleep = bmm.datasets.load("sleepstudy")
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", sleep)
    print(model, end="\n\n")

    fit = model.fit()
    print(fit, end="\n\n")

    posterior = model.sample(seed=1)
    print(bmm.compare(fit, posterior), end="\n\n")

    # Why the responses of one person are correlated: the covariance that the model implies.
    person = {"Subject": "308"}
    print("Covariance of days 3 and 6 of one person:")
    print(" ", model.marginal_covariance(rows=person).iloc[3, 6])
    print(f"  = {model.marginal_covariance(rows=person, at=fit).iloc[3, 6]:.0f} ms² at the REML estimate")


if __name__ == "__main__":
    main()
