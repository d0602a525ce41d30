"""A table with every kind of rule, and names that SQL would trip over."""

# mypy: disable-error-code="valid-type,type-arg"

import pyspark.sql.types as T
from pandera.pyspark import DataFrameModel, Field

import alert_assets.contracts.models.struct_dtype  # noqa: F401  (registers the struct dtype)
from alert_assets.contracts import Contract

PAIR = T.StructType([T.StructField("a", T.StringType()), T.StructField("b", T.DoubleType())])


class Odd(DataFrameModel):
    """One column for each kind of rule."""

    event_type: T.StringType() = Field(description="Decides whether `detail` is required.")
    detail: T.StringType() = Field(nullable=True, metadata={"required_for": ("alert",)})
    texts: T.StringType() = Field(nullable=True, isin=["it's", 'a "quote"', "ü"])
    numbers: T.LongType() = Field(alias="Number of it", nullable=True, isin=[1, 2])
    at_least: T.DoubleType() = Field(nullable=True, ge=0.0)
    above: T.DoubleType() = Field(alias='ab"ove', nullable=True, gt=0.0)
    at_most: T.DoubleType() = Field(nullable=True, le=1.0)
    below: T.LongType() = Field(alias="_below", nullable=True, lt=10)
    huge: T.DoubleType() = Field(nullable=True, le=1e300)
    pattern: T.StringType() = Field(alias="select", nullable=True, str_matches=r"^it's [0-9]+$")
    prefix: T.StringType() = Field(nullable=True, str_matches="ab")
    flag: T.BooleanType() = Field(nullable=True)
    day: T.TimestampType() = Field()
    blob: T.BinaryType() = Field()
    pair: PAIR = Field()
    pairs: T.ArrayType(PAIR) = Field()
    counts: T.MapType(T.StringType(), T.DoubleType()) = Field()

    class Config:
        """pandera's options."""

        name = "odd"
        strict = True


class Unknown(DataFrameModel):
    """A check that has no SQL."""

    text: T.StringType() = Field(str_endswith="x")


class NotANumber(DataFrameModel):
    """A bound that has no SQL."""

    number: T.DoubleType() = Field(le=float("inf"))


def contract(model: str) -> Contract:
    """A contract around one of the models above."""
    return Contract(
        name=model.lower(),
        version=1,
        description="For tests.",
        owner="team:tests",
        consumers=(),
        key=(),
        freshness_minutes=10,
        model_path=f"alert_assets_tests.contracts.odd_model:{model}",
    )
