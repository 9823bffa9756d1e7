//! Instructions of the kernel's virtual machine (RFC 9669), and jumps by label.
//!
//! Jumps lead forward only, so that every program ends.

/// The kernel's `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// What a call or the program itself returns.
pub const R0: u8 = 0;
/// Arguments of a call, which it destroys, are here and in the four that follow.
pub const R1: u8 = 1;
pub const R2: u8 = 2;
pub const R3: u8 = 3;
pub const R4: u8 = 4;
pub const R5: u8 = 5;
/// These outlive calls.
pub const R6: u8 = 6;
pub const R7: u8 = 7;
pub const R8: u8 = 8;
pub const R9: u8 = 9;
/// The end of the stack.
pub const FRAME: u8 = 10;

#[derive(Debug, Clone, Copy)]
pub enum Size {
    Byte,
    Half,
    Word,
    Double,
}

impl Size {
    const fn bits(self) -> u8 {
        match self {
            Self::Word => 0x00,
            Self::Half => 0x08,
            Self::Byte => 0x10,
            Self::Double => 0x18,
        }
    }
}

/// With an immediate; comparisons are unsigned.
#[derive(Debug, Clone, Copy)]
pub enum Test {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
}

impl Test {
    const fn bits(self) -> u8 {
        match self {
            Self::Equal => 0x10,
            Self::Greater => 0x20,
            Self::GreaterOrEqual => 0x30,
            Self::NotEqual => 0x50,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Operation {
    Add,
    ShiftRight,
    Move,
}

impl Operation {
    const fn bits(self) -> u8 {
        match self {
            Self::Add => 0x00,
            Self::ShiftRight => 0x70,
            Self::Move => 0xB0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Label(usize);

#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Instruction>,
    /// Where each label is, once it is put.
    labels: Vec<Option<usize>>,
    /// Jumps and where they lead.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.code.push(Instruction { code, registers: from << 4 | to, offset, immediate });
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub fn put(&mut self, label: Label) {
        assert!(self.labels[label.0].is_none(), "a label is in one place");
        self.labels[label.0] = Some(self.code.len());
    }

    pub fn load(&mut self, size: Size, to: u8, from: u8, offset: i16) {
        self.push(0x61 | size.bits(), to, from, offset, 0);
    }

    pub fn store(&mut self, size: Size, to: u8, offset: i16, from: u8) {
        self.push(0x63 | size.bits(), to, from, offset, 0);
    }

    pub fn store_value(&mut self, size: Size, to: u8, offset: i16, value: i32) {
        self.push(0x62 | size.bits(), to, 0, offset, value);
    }

    /// Adds a register to memory that other cores change as well.
    pub fn add_atomically(&mut self, to: u8, offset: i16, from: u8) {
        self.push(0xDB, to, from, offset, 0);
    }

    pub fn value(&mut self, operation: Operation, to: u8, value: i32) {
        self.push(0x07 | operation.bits(), to, 0, 0, value);
    }

    pub fn register(&mut self, operation: Operation, to: u8, from: u8) {
        self.push(0x0F | operation.bits(), to, from, 0, 0);
    }

    /// The map behind a descriptor.
    pub fn map(&mut self, to: u8, fd: i32) {
        const PSEUDO_MAP_FD: u8 = 1;
        self.push(0x18, to, PSEUDO_MAP_FD, 0, fd);
        self.push(0, 0, 0, 0, 0);
    }

    /// Of the whole register.
    pub fn jump_if(&mut self, register: u8, test: Test, value: i32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(0x05 | test.bits(), register, 0, 0, value);
    }

    /// Of two whole registers.
    pub fn jump_if_registers(&mut self, register: u8, test: Test, other: u8, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(0x0D | test.bits(), register, other, 0, 0);
    }

    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(0x05, 0, 0, 0, 0);
    }

    /// One of the kernel's functions (`enum bpf_func_id` of include/uapi/linux/bpf.h).
    pub fn call(&mut self, function: i32) {
        self.push(0x85, 0, 0, 0, function);
    }

    pub fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    pub fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let to = self.labels[label.0].expect("every label that is jumped to is put");
            let distance = to.checked_sub(at + 1).expect("jumps lead forward");
            self.code[at].offset = i16::try_from(distance).expect("a program is short");
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_their_labels() {
        let mut program = Assembler::default();
        let (end, never) = (program.label(), program.label());
        program.jump_if(R1, Test::Equal, 7, end);
        program.value(Operation::Move, R0, 1);
        program.jump(end);
        program.put(never);
        program.value(Operation::Move, R0, 2);
        program.put(end);
        program.exit();
        let code = program.finish();
        assert_eq!((code[0].offset, code[2].offset), (3, 1));
        // `if r1 == 7 goto +3` and `exit`, as the kernel's own assembler writes them.
        assert_eq!(code[0], Instruction { code: 0x15, registers: 0x01, offset: 3, immediate: 7 });
        assert_eq!(code[4], Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 });
    }
}
