"""Who writes to whom: the sending and the receiving of one set of people.

Everybody in an office writes to everybody else. The logarithm of the number of e-mails from i to j is an average, an
effect of i as a sender, one of j as a receiver, and the rest. Those who write much may also be written to much: the
two effects of a person are correlated. Crossed factors, (1 | sender) + (1 | receiver), cannot say so, since they do not
know that a sender and a receiver of one name are one person.

The data are simulated, so that the truth is known. Run it with `python examples/emails.py`.

Warner, Kenny & Stoto (1979). A new round robin analysis of variance for social interaction data. J. Pers. Soc.
Psychol. 37.
"""

import pandas as pd

import bayesmm as bmm


def main() -> None:
    emails = bmm.datasets.simulate_dyads(18, sender_sd=0.9, receiver_sd=0.6, correlation=0.6, sigma=0.7, seed=1)
    model = bmm.Model(emails.formula, emails.data)
    fit, posterior = model.fit(), model.sample(seed=1, chains=2, draws=500, tune=500)
    print(bmm.compare(fit, posterior), end="\n\n")

    table = pd.DataFrame({"truth": emails.parameters, "REML": fit.parameters["estimate"]})
    table["posterior mean"] = posterior.parameters["mean"]
    print(table.round(2).to_string(), end="\n\n")

    crossed = bmm.Model("log_count ~ 1 + (1 | sender) + (1 | receiver)", emails.data).fit("ml")
    ratio = 2.0 * (model.fit("ml").loglik - crossed.loglik)
    print(f"Without the correlation the log-likelihood is {ratio / 2.0:.2f} lower: a likelihood ratio of {ratio:.1f},")
    print("one degree of freedom.", end="\n\n")

    people = fit.random_effects().pivot_table(index="level", columns="effect", values="estimate")
    print("Who writes most, and what they get:")
    print(people.sort_values("sender", ascending=False).head(4).round(2).to_string())


if __name__ == "__main__":
    main()
