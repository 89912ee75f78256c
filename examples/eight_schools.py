"""A meta-analysis with known standard errors: the effect of coaching in eight schools (Rubin 1981).

Each school reports one effect with its standard error. The errors are known: they give the weights, and sigma is fixed
at one, so that Var(y) = 1 / weight = se². What is estimated is the mean effect, and how much the true effects differ
(tau).

Run it with `python examples/eight_schools.py`.
"""

import bayesmm as bmm
from bayesmm import priors


def main() -> None:
    schools = bmm.datasets.load("eight_schools")
    model = bmm.Model(
        "y ~ 1 + (1 | school)",
        schools,
        weights="1 / sigma**2",  # the column of standard errors is called sigma
        sigma=1.0,
        priors={"Intercept": priors.Normal(0, 5), "sd(Intercept | school)": priors.HalfCauchy(5)},
    )
    fit = model.fit()
    tau = fit.parameters.loc["sd(Intercept | school)", "estimate"]
    print(f"REML: mean effect {fit.fixed_effects.loc['Intercept', 'estimate']:.2f}, tau {tau:.2f}")
    print(fit.status.value, end="\n\n")

    posterior = model.sample(seed=1)
    print(posterior, end="\n\n")

    # REML says that all schools are alike. The posterior does not know that: it averages over tau.
    effects = posterior.random_effects().set_index("level")["mean"] + posterior.beta.mean()
    table = schools.set_index("school")[["y", "sigma"]].rename(columns={"y": "reported", "sigma": "se"})
    print(table.assign(reml=fit.fitted, posterior_mean=effects).round(1).to_string())


if __name__ == "__main__":
    main()
