"""Settings of layers: what a network is made of, before it has any numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import ClassVar, Literal, get_args

from deltarule import _settings
from deltarule._validation import Array, statistics
from deltarule.initializers import Initializer, InitializerName
from deltarule.initializers import resolve as resolve_initializer

ActivationName = Literal[
    "identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "silu", "gelu", "mish",
    "softplus", "exp", "softmax",
]  # fmt: skip
ACTIVATIONS: tuple[str, ...] = get_args(ActivationName)
_DEFAULT_ALPHA: Mapping[str, float] = {"leaky_relu": 0.01, "elu": 1.0}


# How a layer is trained: the settings that may change later, and what they are if nobody says.
TRAINING: Mapping[str, float] = {"l1": 0.0, "l2": 0.0, "learning_rate_factor": 1.0}


class Layer:
    """What the layers share; use one of its subclasses."""

    kind: ClassVar[str] = ""

    def __repr__(self) -> str:
        positional = ("width", "units", "activation", "name", "rate", "columns", "n_levels")
        return _settings.short_repr(self, *positional)

    def _check_training(self) -> None:
        """Check those settings of `TRAINING` that the layer has."""
        for name in TRAINING:
            if hasattr(self, name):
                _settings.set_field(self, name, _settings.real(name, getattr(self, name)))


@dataclass(frozen=True, repr=False)
class Input(Layer):
    """The first entry of a network: how many features a row has.

    It holds nothing and is not in ``net.layers``.

    Parameters
    ----------
    width : int
        Number of features, at least 1.

    Raises
    ------
    TypeError, ValueError
        If `width` is not an integer of at least 1.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.Network([dr.Input(13), dr.Dense(1)], seed=0).n_parameters
    14
    """

    kind: ClassVar[str] = "input"
    width: int

    def __post_init__(self) -> None:
        _settings.set_field(self, "width", _settings.size("width", self.width))


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    r"""An element-wise function (softmax: a row-wise one), alone or inside a `Dense`.

    ============ ===================================================================
    name         :math:`\sigma(z)`
    ============ ===================================================================
    identity     :math:`z`
    sigmoid      :math:`1 / (1 + e^{-z})`
    tanh         :math:`\tanh z`
    relu         :math:`\max(z, 0)`
    leaky_relu   :math:`z` if :math:`z > 0` else :math:`\alpha z`
    elu          :math:`z` if :math:`z > 0` else :math:`\alpha (e^z - 1)`
    selu         :math:`\lambda z` if :math:`z > 0` else :math:`\lambda \alpha (e^z - 1)` [1]_
    silu         :math:`z / (1 + e^{-z})`
    gelu         :math:`z \Phi(z)`, exact, not the tanh form [2]_
    mish         :math:`z \tanh(\log(1 + e^z))` [3]_
    softplus     :math:`\log(1 + e^z)`
    exp          :math:`e^z`
    softmax      :math:`e^{z_j} / \sum_k e^{z_k}` over the row
    ============ ===================================================================

    with :math:`\lambda = 1.0507\ldots` and :math:`\alpha = 1.6732\ldots` in selu (which go with
    the initialiser lecun_normal), and :math:`\Phi` the distribution function of a standard normal
    variable.

    Parameters
    ----------
    name : str
        One of the names above.
    alpha : float, optional
        Slope of leaky_relu (0.01 if not given) or scale of elu (1.0), at least 0; the other
        activations take none.

    Raises
    ------
    TypeError, ValueError
        If the name is not in the table, or `alpha` is out of range or has nothing to set.

    References
    ----------
    .. [1] G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter, "Self-normalizing neural
       networks", NeurIPS 2017.
    .. [2] D. Hendrycks, K. Gimpel, "Gaussian error linear units", 2016.
    .. [3] D. Misra, "Mish: a self regularized non-monotonic activation function", 2019.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.Dense(64, dr.Activation("leaky_relu", alpha=0.2))
    Dense(64, Activation('leaky_relu', alpha=0.2))
    """

    kind: ClassVar[str] = "activation"
    name: ActivationName
    alpha: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        name = _settings.choice("activation", self.name, ACTIVATIONS)
        default = _DEFAULT_ALPHA.get(name)
        if self.alpha is None:
            _settings.set_field(self, "alpha", default)
        elif default is None:
            raise ValueError(f"alpha is for {' and '.join(_DEFAULT_ALPHA)}, not for {name!r}")
        else:
            _settings.set_field(self, "alpha", _settings.real("alpha", self.alpha))

    @property
    def has_default_alpha(self) -> bool:
        """Whether the name says it all."""
        return self.alpha == _DEFAULT_ALPHA.get(self.name)

    def __repr__(self) -> str:
        alpha = "" if self.has_default_alpha else f", alpha={self.alpha!r}"
        return f"Activation({self.name!r}{alpha})"


@dataclass(frozen=True, repr=False)
class Dense(Layer):
    r"""A dense (fully connected) layer with its activation.

    .. math:: Z_l = W_l A_{l-1} + b_l 1^T, \qquad A_l = \sigma_l(Z_l)

    with :math:`W_l` of shape (n_l, n_{l-1}) and :math:`b_l` of shape (n_l,).

    Parameters
    ----------
    units : int
        :math:`n_l`, at least 1.
    activation : str or Activation, default "identity"
        :math:`\sigma_l`; see `Activation` for the names.
    initializer : str or Initializer, optional
        How the weights start, see `deltarule.initializers`. None takes he_uniform for relu,
        leaky_relu, elu, silu, gelu and mish, lecun_normal for selu, and glorot_uniform for the
        rest. Biases start at zero.
    l1, l2 : float, default 0
        Add :math:`l_1 \sum |w| + \frac{l_2}{2} \sum w^2` over the weights of this layer, not its
        biases, to the loss that is trained. The gradient :math:`l_1 \mathrm{sign}(w) + l_2 w`
        joins that of the loss after clipping, as the `l2` of the optimiser does, which comes on
        top; sign(0) is 0.
    learning_rate_factor : float, default 1
        The layer is trained as by an optimiser with so many times the learning rate, weight decay
        included; 0 freezes it: no bit of its parameters and of their optimiser state changes, and
        ``clip_norm`` does not count it. An `IRpropPlus`, which has no rate, takes 0 and 1 only.

    Raises
    ------
    TypeError, ValueError
        If a setting is unknown or out of range.

    Notes
    -----
    These three can be changed in a network, see `LayerView`: ``net.layers[0].frozen = True``.

    References
    ----------
    D. Rumelhart, G. Hinton, R. Williams, "Learning representations by back-propagating errors",
    Nature 323 (1986). R. Tibshirani, "Regression shrinkage and selection via the lasso", J. R.
    Statist. Soc. B 58 (1996), for :math:`l_1`.

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.Dense(64, "relu")
    Dense(64, 'relu')
    >>> dr.Dense(64, "relu", l2=0.001, learning_rate_factor=0.1)
    Dense(64, 'relu', l2=0.001, learning_rate_factor=0.1)
    """

    kind: ClassVar[str] = "dense"
    units: int
    activation: ActivationName | Activation = "identity"
    initializer: InitializerName | Initializer | None = field(default=None, kw_only=True)
    l1: float = field(default=0.0, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    learning_rate_factor: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_training()
        _settings.set_field(self, "units", _settings.size("units", self.units))
        if isinstance(self.activation, Activation):
            if self.activation.has_default_alpha:
                _settings.set_field(self, "activation", self.activation.name)
        else:
            _settings.choice("activation", self.activation, ACTIVATIONS)
        initializer = resolve_initializer(self.initializer, "identity")
        if self.initializer is not None and initializer == type(initializer)():
            _settings.set_field(self, "initializer", initializer.name)


@dataclass(frozen=True, repr=False)
class _Scaling(Layer):
    """A layer with a mean and a scale for every feature, which are fitted, not trained."""

    mean: float | Sequence[float] | None = field(default=None, kw_only=True)
    scale: float | Sequence[float] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.scale is None):
            given, missing = ("mean", "scale") if self.scale is None else ("scale", "mean")
            raise ValueError(f"{given} was given without {missing}: give both, or neither")
        if self.mean is None:
            return
        for name in ("mean", "scale"):
            values = statistics(name, getattr(self, name), positive=name == "scale")
            _settings.set_field(self, name, values)


class Standardize(_Scaling):
    r"""Scale the inputs inside the model: the first layer of a network.

    .. math:: A = (X - \mathrm{mean}) / \mathrm{scale}

    The first fit computes the (weighted) mean and standard deviation of every feature in one pass
    over X, a constant feature getting scale 1; later fits keep them.

    Parameters
    ----------
    mean, scale : float or sequence of n_0 floats, optional
        Statistics of your own, both or neither: finite, `scale` positive. They go into the
        network's state (``net.layers[0].mean``), and no fit changes them.

    Raises
    ------
    TypeError, ValueError
        If only one is given, or one holds something else than such numbers.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([dr.Input(2), dr.Standardize(mean=[1, 2], scale=2.0), dr.Dense(1)])
    >>> net.layers[0].mean, net.layers[0].fitted
    (array([1., 2.], dtype=float32), True)
    """

    kind: ClassVar[str] = "standardize"


class Rescale(_Scaling):
    r"""Scale the outputs inside the model: the last layer of a network, for regression.

    .. math:: A = \mathrm{mean} + \mathrm{scale} \odot A_{L-1}

    The first fit takes the (weighted) mean and standard deviation of every target, so that the
    layers before work with numbers of size one; the loss and the predictions are in units of y.
    The gradient of those layers has a factor scale², which Adam does not notice; a learning rate
    of SGD is to be divided by it.

    Parameters
    ----------
    mean, scale : float or sequence of n_L floats, optional
        Statistics of your own, both or neither: finite, `scale` positive.

    Raises
    ------
    TypeError, ValueError
        If only one is given, or one holds something else than such numbers.

    Examples
    --------
    >>> import deltarule as dr
    >>> net = dr.Network([dr.Input(4), dr.Dense(16, "tanh"), dr.Dense(1), dr.Rescale()])
    >>> net.layers[2].fitted
    False
    """

    kind: ClassVar[str] = "rescale"


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    r"""In training, set units to zero at random; in inference, do nothing.

    .. math:: A = M \odot A_{l-1} / (1 - \mathrm{rate}), \qquad P(M = 0) = \mathrm{rate}

    Parameters
    ----------
    rate : float
        Probability that a unit is dropped, in [0, 1).

    Raises
    ------
    TypeError, ValueError
        If `rate` is not such a number.

    References
    ----------
    N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov, "Dropout: a simple
    way to prevent neural networks from overfitting", JMLR 15 (2014).

    Examples
    --------
    >>> import deltarule as dr
    >>> dr.Dropout(0.1)
    Dropout(0.1)
    """

    kind: ClassVar[str] = "dropout"
    rate: float

    def __post_init__(self) -> None:
        _settings.set_field(self, "rate", _settings.real("rate", self.rate, below=1.0))


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    r"""Learned vectors for columns of integer codes: the first layer of a network.

    .. math:: a = (x_{\text{other columns}},\ E_1[x_{c_1}],\ \dots,\ E_k[x_{c_k}])

    with a table :math:`E_j` of shape (n_levels[j], dimension), whose row is looked up. The columns
    that are not named pass through, in their order; then come `dimension` values for each named
    one, in the order given: n_0 - k + k * dimension outputs. It computes what a `Dense` without
    biases would on one-hot columns, without making them.

    The tables, ``net.layers[0].tables``, start normal with mean 0 and standard deviation
    :math:`1/\sqrt{\text{dimension}}`, so that a vector has a length near 1. The gradient of a
    level is summed over the rows that have it, and zero if none does. The optimiser then updates
    every level by its rule: momentum, Adam's averages, `l2` and `weight_decay`, for which tables
    are weights, also move levels that are not in the batch. Codes have no derivative:
    ``net.backward`` returns 0 for their columns.

    A code, converted to the network's dtype like all of X, must be an integer from 0 to
    n_levels[j] - 1. Anything else is refused, in ``predict`` too; there NaN alone is taken, and
    makes the output of its row NaN. A column has at most 2**24 levels in float32, 2**53 in
    float64: integers up to there are exact.

    Parameters
    ----------
    columns : sequence of int
        The columns :math:`c_j` of X that hold codes: k different ones, from 0 to n_0 - 1.
    n_levels : sequence of int
        For each of them, how many codes there are, at least 1.
    dimension : int, default 8
        Length of the vectors, at least 1.
    l1, l2, learning_rate_factor : float
        As in `Dense`; the tables are its weights.

    Raises
    ------
    TypeError, ValueError
        If a setting is not as above. From `Network`, if the layer does not follow the Input, a
        column is not in X, or the dtype cannot hold the codes; from what takes X, with row, column
        and value, if there is no code where one is needed.

    References
    ----------
    Y. Bengio, R. Ducharme, P. Vincent, C. Jauvin, "A neural probabilistic language model", JMLR 3
    (2003). C. Guo, F. Berkhahn, "Entity embeddings of categorical variables", arXiv:1604.06737
    (2016).

    Examples
    --------
    >>> import deltarule as dr
    >>> layers = [dr.Input(3), dr.Embedding([1], [4], dimension=2), dr.Dense(1)]
    >>> net = dr.Network(layers, seed=0)
    >>> net.layers[0].tables[0].shape
    (4, 2)
    >>> net.predict([[0.5, 3, -1.0], [0.5, 0, -1.0]]).shape
    (2, 1)
    >>> net.predict([[0.5, 4, -1.0]])
    Traceback (most recent call last):
        ...
    ValueError: X must hold integer codes from 0 to 3 in column 1, got 4 at row 0
    """

    kind: ClassVar[str] = "embedding"
    columns: Sequence[int]
    n_levels: Sequence[int]
    dimension: int = field(default=8, kw_only=True)
    l1: float = field(default=0.0, kw_only=True)
    l2: float = field(default=0.0, kw_only=True)
    learning_rate_factor: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        self._check_training()
        columns = _settings.integers("columns", self.columns, low=0)
        n_levels = _settings.integers("n_levels", self.n_levels, low=1)
        if len(set(columns)) != len(columns):
            twice = Counter(columns).most_common(1)[0][0]
            shown = _settings.shown_integer(twice)
            raise ValueError(f"columns must be different ones, got {shown} more than once")
        if len(n_levels) != len(columns):
            raise ValueError(
                "n_levels must have one number for each of the columns, "
                f"got {len(n_levels)} for {len(columns)}"
            )
        _settings.set_field(self, "columns", columns)
        _settings.set_field(self, "n_levels", n_levels)
        _settings.set_field(self, "dimension", _settings.size("dimension", self.dimension))

    def split(self, block: Array) -> list[Array]:
        """Return a view (n_levels[j], dimension) of each table's part of a block of theta."""
        ends = (self.dimension * end for end in accumulate(self.n_levels))
        starts = (0, *ends)
        return [block[i:j].reshape(-1, self.dimension) for i, j in pairwise(starts)]


def activation_of(layer: Layer) -> Activation | None:
    """Return the activation of a Dense or Activation, None of any other layer."""
    if isinstance(layer, Activation):
        return layer
    if not isinstance(layer, Dense):
        return None
    used = layer.activation
    return used if isinstance(used, Activation) else Activation(used)
