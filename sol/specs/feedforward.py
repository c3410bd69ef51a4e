"""Feed-forward blocks as data: a dense one, and routed experts with or without shared ones."""

from __future__ import annotations

from pydantic import model_validator

from sol.specs.blocks import Block, Matrix, Size


class MLP(Block):
    """A dense feed-forward block; gated (SwiGLU) ones have three matrices, plain ones two."""

    ffn: Size
    gated: bool = True
    bias: bool = False

    @property
    def wide(self) -> int:
        """Elements of one token between the matrices: gate and up, or up alone."""
        return (2 if self.gated else 1) * self.ffn

    @property
    def dense_ffn(self) -> int:
        """The inner width."""
        return self.ffn

    def activation_width(self, hidden: int) -> int:
        """What stands between the matrices."""
        del hidden
        return self.wide

    def shard(self, ways: int) -> MLP:
        """ffn / ways, rounded up: the widest part."""
        return self._with(ffn=-(-self.ffn // ways))

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Gate and up (or up alone) and down."""
        biases = self.ffn if self.bias else 0
        up = Matrix("gate_up_proj" if self.gated else "up_proj", "up_proj", self.ffn, hidden, biases)
        return (*((up, up) if self.gated else (up,)), Matrix("down_proj", "down_proj", hidden, self.ffn, hidden if self.bias else 0))


class MoE(Block):
    """Routed experts of width `expert_ffn`, `experts_per_token` of them for each token.

    `gated`: three matrices an expert, else two. `latent`: the width experts work in where that is not
    the model's, with a matrix down and one up around them. `shared`: a dense block every token goes
    through beside them; `shared_gate`: a one-output gate on it. `correction`: one stored value an
    expert that corrects the router. `held`: the experts this part of a split block holds, None for all;
    `parts`: over how many such parts they are spread.
    `groups` of experts side by side, of which a token first chooses `groups_per_token`; one where it chooses among all.
    """

    experts: Size
    experts_per_token: Size
    expert_ffn: Size
    gated: bool = True
    expert_bias: bool = False
    router_bias: bool = False
    correction: bool = False
    latent: Size | None = None
    shared: MLP | None = None
    shared_gate: bool = False
    held: Size | None = None
    parts: Size = 1
    groups: Size = 1
    groups_per_token: Size = 1

    @model_validator(mode="after")
    def _enough(self) -> MoE:
        if self.experts % self.groups or self.groups_per_token > self.groups:
            raise ValueError(f"{self.groups_per_token} of {self.groups} groups cannot be chosen of experts={self.experts}")
        if self.experts_per_token > self.experts // self.groups * self.groups_per_token:
            raise ValueError(f"experts_per_token={self.experts_per_token} exceeds the experts of {self.groups_per_token} groups")
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token={self.experts_per_token} exceeds experts={self.experts}")
        if self.shared_gate and self.shared is None:
            raise ValueError("shared_gate is a gate on shared experts, and there are none")
        return self

    @property
    def wide(self) -> int:
        """Elements of one token between one expert's matrices."""
        return (2 if self.gated else 1) * self.expert_ffn

    @property
    def vector_elements(self) -> int:
        """The router's correction."""
        return self.experts if self.correction else 0

    @property
    def dense_ffn(self) -> int:
        """That of the shared block."""
        return 0 if self.shared is None else self.shared.ffn

    def routed_width(self, hidden: int) -> int:
        """k·(max(gate and up, d) + max(f, d)): two buffers, each first the one and then the other."""
        d = hidden if self.latent is None else self.latent
        return self.experts_per_token * (max(self.wide, d) + max(self.expert_ffn, d))

    def activation_width(self, hidden: int) -> int:
        """What stands between the matrices of all experts of one token."""
        del hidden
        return self.experts_per_token * self.wide

    def shard(self, ways: int) -> MoE:
        """The shared block's part; the router is held whole. Experts are split by their own rule (`split_experts`)."""
        return self if self.shared is None else self._with(shared=self.shared.shard(ways))

    def split_experts(self, ways: int, width_ways: int) -> MoE:
        """experts / ways of them, each expert_ffn / width_ways wide, rounded up: where `ways` does not divide them some are held twice."""
        return self._with(expert_ffn=-(-self.expert_ffn // width_ways), held=-(-self.experts // ways), parts=ways)

    @property
    def share_held(self) -> float:
        """Of all experts, those a part computes if each is computed in one place [1]: experts / parts."""
        return self.experts / self.parts

    @property
    def experts_held(self) -> int:
        """Experts stored here."""
        return self.experts if self.held is None else self.held

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Router, shared experts, and the way into and out of the latent: what every token reads."""
        rows = [Matrix("router", "router", self.experts, hidden, self.experts if self.router_bias else 0)]
        if self.shared is not None:
            rows += [Matrix(f"shared_{m.operator}", m.tensor, m.rows, m.columns, m.biases) for m in self.shared.matrices(hidden)]
        if self.shared_gate:
            rows.append(Matrix("router", "router", 1, hidden))
        if self.latent is not None:
            rows.append(Matrix("latent_proj", "up_proj", self.latent, hidden))
            rows.append(Matrix("latent_proj", "down_proj", hidden, self.latent))
        return tuple(rows)

    def expert_matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """The matrices of one expert."""
        d, f = hidden if self.latent is None else self.latent, self.expert_ffn
        up = Matrix("experts", "experts_up", f, d, f if self.expert_bias else 0)
        return (*((up, up) if self.gated else (up,)), Matrix("experts", "experts_down", d, f, d if self.expert_bias else 0))

    def parameters(self, hidden: int, *, active: bool = False) -> int:
        """Elements of the router, what is shared, and all experts, or those one token uses."""
        used = self.experts_per_token if active else self.experts_held
        each: int = sum(m.weights + m.biases for m in self.expert_matrices(hidden))
        return super().parameters(hidden) + used * each
